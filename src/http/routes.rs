//! Which path of a listener is whose.

use axum::Router;
use axum::routing::{get, post};

use super::auth::{Guard, ask};
use super::health::{Awaited, healthy, ready};
use super::reload::{ReloadQueue, reload};

/// A listener's routes, ready to be served.
pub type Routes = Router;

/// `/-/healthy`, `/-/ready` and `/-/reload`, which every plain listener has.
pub fn lifecycle_routes(awaited: Awaited, reloads: ReloadQueue) -> Routes {
    let health = Router::new().route("/-/healthy", get(healthy)).route("/-/ready", get(ready).with_state(awaited));
    health.route("/-/reload", post(reload).put(reload).with_state(reloads))
}

/// A plain page at `/` that says what is where.
pub fn index_route(title: &'static str, paths: &'static [(&'static str, &'static str)]) -> Routes {
    let mut page = format!("<!doctype html><meta charset=utf-8><title>{title}</title><h1>{title}</h1><ul>");
    for (path, what) in paths {
        page.push_str(&format!("<li><a href=\"{path}\">{path}</a> – {what}"));
    }
    page.push_str("</ul>\n");
    Router::new().route("/", get(move || std::future::ready(axum::response::Html(page.clone()))))
}

/// Asks who wants to read, on every path of `routes`.
pub fn guarded(routes: Routes, guard: Guard) -> Routes {
    routes.layer(axum::middleware::from_fn_with_state(guard, ask))
}
