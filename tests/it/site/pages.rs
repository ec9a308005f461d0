//! Real exporters' pages served as they were captured, and sequences of pages replayed step by step.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::http::{self, Answer};

/// Pages by name; each is a list of steps, the last of which stays.
pub(crate) struct Pages {
    pub(crate) port: u16,
    pub(crate) names: Vec<String>,
    step: Arc<AtomicUsize>,
}

/// The series that every page carries beside its own, so that a test knows which step a reader has seen.
pub(crate) const STEP_SERIES: &str = "replay_step";

fn content_type(file: &str) -> &'static str {
    if file.ends_with(".om") {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4"
    }
}

/// One page of `steps` with the step's number added.
fn stamped(page: &[u8], step: usize, is_openmetrics: bool) -> Vec<u8> {
    let text = String::from_utf8(page.to_vec()).expect("pages are UTF-8");
    if is_openmetrics {
        format!("{}{STEP_SERIES} {step}\n# EOF\n", text.trim_end().trim_end_matches("# EOF")).into_bytes()
    } else {
        format!("{}\n{STEP_SERIES} {step}\n", text.trim_end_matches('\n')).into_bytes()
    }
}

impl Pages {
    /// Serves each `(name, files)` at `/name`; files are relative to `tests/fixtures/expositions`.
    pub(crate) fn serve(pages: &[(&str, &[&str])]) -> Pages {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/expositions");
        let step = Arc::new(AtomicUsize::new(0));
        let loaded: Vec<(String, &'static str, Vec<Vec<u8>>)> = pages
            .iter()
            .map(|(name, files)| {
                let kind = content_type(files[0]);
                let read = |file: &&str| fs::read(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
                (format!("/{name}"), kind, files.iter().map(read).collect())
            })
            .collect();
        let now = Arc::clone(&step);
        let port = http::serve(move |path| {
            let Some((_, content_type, steps)) = loaded.iter().find(|(name, ..)| name == path) else {
                return Answer { status: 404, content_type: "text/plain", body: Vec::new() };
            };
            let step = now.load(Ordering::SeqCst);
            let page = &steps[step.min(steps.len() - 1)];
            Answer { status: 200, content_type, body: stamped(page, step, content_type.contains("openmetrics")) }
        });
        Pages { port, names: pages.iter().map(|(name, _)| (*name).to_owned()).collect(), step }
    }

    /// Moves every page to `step`.
    pub(crate) fn go_to(&self, step: usize) {
        self.step.store(step, Ordering::SeqCst);
    }

    /// One scrape job a page, `extra` keys added to each.
    pub(crate) fn scrape_configs(&self, extra: &str) -> String {
        self.names
            .iter()
            .map(|name| {
                format!(
                    "  - job_name: {name}\n    metrics_path: /{name}\n    static_configs:\n      - targets: \
                     [\"127.0.0.1:{}\"]\n{extra}",
                    self.port
                )
            })
            .collect()
    }
}
