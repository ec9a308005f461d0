//! The HTTP client of scrapes and service discovery, with the meaning that Prometheus gives each key.
//!
//! Certificates and secrets in files are read again while the client lives: at a request, when the last look was some
//! seconds ago. What cannot be read then leaves the old in force and is logged; a client that never could read its files
//! answers each request with the reason, so that one missing token stops one job and not the collector.
//!
//! Redirects are followed here and not by the library, because credentials must not follow to another origin: not the
//! `Authorization` header, and not the configured headers either, which are as often keys as not.

mod body;
mod credentials;
mod error;
mod gunzip;
mod page;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::LOCATION;
use http::{HeaderMap, StatusCode};
use reqwest::Response;
use reqwest::redirect::Policy;
use url::{Origin, Url};

pub use body::Body;
pub use error::ClientError;
pub use page::read_limited;

use crate::config::HttpClientConfig;
use crate::runtime::clock;
use crate::tls::{ClientFiles, ClientTls};

/// How old a reading of the files may be at a request.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a connection may take to stand; requests have their own, mostly shorter, deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection stays; longer than usual scrape intervals.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Unused connections kept for one host, where nothing else is said: one scrape of a target is in flight at a time.
const POOL_IDLE_PER_HOST: usize = 2;
/// Redirects in a row, as in Go's client and so in Prometheus.
const REDIRECTS_MAX: usize = 10;

/// How a proxy may be spoken to; the `h` leaves names to be resolved by the proxy.
const PROXY_SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

/// A client for one section of the configuration; clones share connections.
#[derive(Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    config: HttpClientConfig,
    files: ClientFiles,
    /// Whether anything comes from files that can change.
    has_files: bool,
    /// Unused connections kept for one host.
    idle_max: usize,
    /// Written at the first request and whenever the files were looked at.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    built: Option<Arc<Built>>,
    checked: Option<Instant>,
}

/// Everything built from one reading of the files.
struct Built {
    client: reqwest::Client,
    tls: ClientTls,
    headers: HeaderMap,
}

impl HttpClient {
    /// Prepares a client; files are read at the first request.
    pub fn new(config: &HttpClientConfig) -> Result<HttpClient, ClientError> {
        HttpClient::with_connections(config, POOL_IDLE_PER_HOST)
    }

    /// The same for one that has so many requests to a host under way at once: their connections are kept.
    pub fn with_connections(config: &HttpClientConfig, idle_max: usize) -> Result<HttpClient, ClientError> {
        if let Some(proxy) = &config.proxy_url {
            proxy_of(proxy, &config.no_proxy)?;
        }
        let files = ClientFiles::of(&config.tls_config, config.enable_http2);
        let has_files = !files.paths().is_empty() || credentials::has_files(config);
        let shared = Shared { config: config.clone(), files, has_files, idle_max, state: Mutex::default() };
        Ok(HttpClient { shared: Arc::new(shared) })
    }

    /// Asks for `url` with the configured credentials and `headers`, and follows redirects if that is configured. The
    /// answer's body is still to be read; the caller bounds the time of both.
    pub async fn get(&self, url: Url, headers: &HeaderMap) -> Result<Response, ClientError> {
        let built = self.current().await?;
        let (home, mut url) = (url.origin(), url);
        for _ in 0..=REDIRECTS_MAX {
            let request =
                built.client.get(url.clone()).headers(headers.clone()).headers(built.headers_for(&url, &home));
            let answer = request.send().await.map_err(ClientError::of_request)?;
            match next_hop(&answer)? {
                Some(next) if self.shared.config.follow_redirects => url = next,
                _ => return Ok(answer),
            }
        }
        Err(ClientError::TooManyRedirects { max: REDIRECTS_MAX })
    }

    /// Sends `body` to `url` with the configured credentials and `headers`. Redirects are answers like others.
    pub async fn post(&self, url: Url, headers: &HeaderMap, body: bytes::Bytes) -> Result<Response, ClientError> {
        let built = self.current().await?;
        let own = built.headers_for(&url, &url.origin());
        let request = built.client.post(url).headers(headers.clone()).headers(own).body(body);
        request.send().await.map_err(ClientError::of_request)
    }

    async fn current(&self) -> Result<Arc<Built>, ClientError> {
        if let Some(built) = self.shared.usable(clock::monotonic()) {
            return Ok(built);
        }
        let shared = self.shared.clone();
        // Files may lie on slow disks.
        let reading = tokio::task::spawn_blocking(move || shared.read_again());
        reading.await.unwrap_or_else(|fault| Err(ClientError::Request { reason: fault.to_string() }))
    }
}

impl Shared {
    /// What the last look at the files gave, unless it is time for another: then `None`, for one caller at a time.
    fn usable(&self, now: Instant) -> Option<Arc<Built>> {
        let mut state = self.lock();
        let is_fresh = state.checked.is_some_and(|at| now.duration_since(at) < RECHECK_INTERVAL);
        if state.built.is_some() && self.has_files && !is_fresh {
            state.checked = Some(now);
            return None;
        }
        state.built.clone()
    }

    fn read_again(&self) -> Result<Arc<Built>, ClientError> {
        let old = self.lock().built.clone();
        let built = match (self.build(old.as_deref()), old) {
            (Ok(built), _) => Arc::new(built),
            (Err(fault), Some(old)) => {
                tracing::warn!(%fault, "certificates or secrets not read again, the old ones stay in force");
                old
            }
            (Err(fault), None) => return Err(fault),
        };
        let mut state = self.lock();
        state.built = Some(built.clone());
        state.checked = Some(clock::monotonic());
        Ok(built)
    }

    /// A new client only if its certificates changed: it begins without connections.
    fn build(&self, old: Option<&Built>) -> Result<Built, ClientError> {
        let tls = ClientTls::read(&self.files)?;
        let headers = credentials::headers(&self.config)?;
        let client = match old {
            Some(old) if old.tls.is_same(&tls) => old.client.clone(),
            _ => self.client(&tls)?,
        };
        Ok(Built { client, tls, headers })
    }

    fn client(&self, tls: &ClientTls) -> Result<reqwest::Client, ClientError> {
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls.config())
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(self.idle_max)
            .referer(false)
            .user_agent(concat!("fedgate/", env!("CARGO_PKG_VERSION")));
        if !self.config.enable_http2 {
            builder = builder.http1_only();
        }
        // Proxies of the environment are for browsers: as in Prometheus, only a configured one counts.
        builder = match &self.config.proxy_url {
            Some(proxy) => builder.proxy(proxy_of(proxy, &self.config.no_proxy)?),
            None => builder.no_proxy(),
        };
        builder.build().map_err(ClientError::of_request)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Built {
    fn headers_for(&self, url: &Url, home: &Origin) -> HeaderMap {
        if url.origin() == *home { self.headers.clone() } else { HeaderMap::new() }
    }
}

fn proxy_of(url: &str, exempt: &str) -> Result<reqwest::Proxy, ClientError> {
    let bad = |reason: String| ClientError::BadProxy { reason };
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if !PROXY_SCHEMES.contains(&scheme) {
        return Err(bad(format!("scheme {scheme:?}, expected one of {}", PROXY_SCHEMES.join(", "))));
    }
    let proxy = reqwest::Proxy::all(url).map_err(|fault| bad(ClientError::of_request(fault).to_string()))?;
    Ok(proxy.no_proxy(reqwest::NoProxy::from_string(exempt)))
}

/// Where an answer sends its reader, if it does.
fn next_hop(answer: &Response) -> Result<Option<Url>, ClientError> {
    let is_redirect = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(location) = answer.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(location.as_bytes());
    let next = answer.url().join(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    next.map(Some).ok_or_else(|| ClientError::BadRedirect { location: text.into_owned() })
}

#[cfg(test)]
mod tests {
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::config::Authorization;

    #[tokio::test]
    async fn secrets_are_read_again_and_the_old_stay_while_they_cannot_be() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("token");
        let authorization = Authorization { credentials_file: Some(path.clone()), ..Authorization::default() };
        let config = HttpClientConfig { authorization: Some(authorization), ..HttpClientConfig::default() };
        let client = HttpClient::new(&config).unwrap();
        let sent = async || client.current().await.unwrap().headers[AUTHORIZATION].clone();
        let time_passes = || client.shared.lock().checked = None;

        std::fs::write(&path, "old").unwrap();
        assert_eq!(sent().await, "Bearer old");
        std::fs::write(&path, "new").unwrap();
        assert_eq!(sent().await, "Bearer old", "files are not read at every request");
        time_passes();
        assert_eq!(sent().await, "Bearer new");
        std::fs::remove_file(&path).unwrap();
        time_passes();
        assert_eq!(sent().await, "Bearer new");
        assert!(sent().await.is_sensitive());
    }
}
