//! The HTTP client of scrapes and discovery against real servers: credentials, redirects, proxies, bounded bodies.

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fedgate::config::{Authorization, BasicAuth, HttpClientConfig, HttpHeader, Secret, TlsClientConfig};
use fedgate::net::client::{Body, ClientError, HttpClient, read_limited};
use fedgate::net::{RequestBody, Server, ServerLimits};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, LOCATION};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Full;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use url::Url;

use crate::tls::Gateway;

const LIMIT: u64 = 1 << 20;

/// One request as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    path: String,
    headers: HeaderMap,
}

/// A server that answers by `route` and remembers what it was asked.
struct Target {
    base: Url,
    seen: Arc<Mutex<Vec<Seen>>>,
    _stop: DropGuard,
}

type Route = fn(&str) -> Response<Full<Bytes>>;

impl Target {
    async fn start(route: Route) -> Target {
        let server = Server::bind("127.0.0.1:0", None, ServerLimits::default()).await.unwrap();
        let base = Url::parse(&format!("http://{}/", server.address())).unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let notes = seen.clone();
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let path = request.uri().to_string();
            notes.lock().unwrap().push(Seen { path: path.clone(), headers: request.headers().clone() });
            async move { Ok::<_, Infallible>(route(&path)) }
        });
        let stop = CancellationToken::new();
        tokio::spawn(server.serve(service, stop.clone()));
        Target { base, seen, _stop: stop.drop_guard() }
    }

    fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn plain(_: &str) -> Response<Full<Bytes>> {
    Response::new(Full::from("up 1\n"))
}

fn client(config: HttpClientConfig) -> HttpClient {
    HttpClient::new(&config).unwrap()
}

async fn page(client: &HttpClient, url: Url) -> Result<String, ClientError> {
    let (answer, mut page) = (client.get(url, &HeaderMap::new()).await?, Body::default());
    read_limited(answer, LIMIT, &mut page).await?;
    Ok(String::from_utf8(page.to_vec()).unwrap())
}

#[tokio::test]
async fn credentials_and_headers_are_sent_as_configured() {
    let (target, dir) = (Target::start(plain).await, TempDir::new().unwrap());
    let file = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let headers =
        HttpHeader { values: vec!["a".to_owned()], secrets: vec![Secret::new("b")], files: vec![file("c", "c\n")] };
    let basic = BasicAuth {
        username: "user".to_owned(),
        password_file: Some(file("password", "pass:word\n")),
        ..BasicAuth::default()
    };
    let one = client(HttpClientConfig {
        basic_auth: Some(basic),
        http_headers: [("X-Site".to_owned(), headers)].into(),
        ..HttpClientConfig::default()
    });
    let own = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/plain"))]);
    one.get(target.url("/metrics"), &own).await.unwrap();
    let token = Authorization { credentials_file: Some(file("token", " t0ken\n")), ..Authorization::default() };
    page(&client(HttpClientConfig { authorization: Some(token), ..HttpClientConfig::default() }), target.url("/"))
        .await
        .unwrap();

    let seen = target.seen();
    assert_eq!(seen[0].path, "/metrics");
    assert_eq!(seen[0].headers[AUTHORIZATION], "Basic dXNlcjpwYXNzOndvcmQ=");
    assert_eq!(seen[0].headers[ACCEPT], "text/plain");
    assert!(seen[0].headers["user-agent"].to_str().unwrap().starts_with("fedgate/"));
    assert_eq!(seen[0].headers.get_all("x-site").iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(seen[1].headers[AUTHORIZATION], "Bearer t0ken");
}

#[tokio::test]
async fn a_file_that_is_missing_stops_the_request_until_it_is_there() {
    let (target, dir) = (Target::start(plain).await, TempDir::new().unwrap());
    let path = dir.path().join("token");
    let authorization = Authorization { credentials_file: Some(path.clone()), ..Authorization::default() };
    let client = client(HttpClientConfig { authorization: Some(authorization), ..HttpClientConfig::default() });
    let fault = page(&client, target.url("/")).await.unwrap_err();
    assert!(matches!(&fault, ClientError::Secret { path: named, .. } if *named == path), "{fault}");
    assert!(target.seen().is_empty());
    std::fs::write(&path, "now").unwrap();
    assert_eq!(page(&client, target.url("/")).await.unwrap(), "up 1\n");
}

/// Answers `/to/URL` with a redirect to URL.
fn redirecting(path: &str) -> Response<Full<Bytes>> {
    let mut answer = plain(path);
    if let Some(place) = path.strip_prefix("/to/") {
        *answer.status_mut() = StatusCode::FOUND;
        answer.headers_mut().insert(LOCATION, place.parse().unwrap());
    }
    answer
}

fn with_credentials(follow_redirects: bool) -> HttpClient {
    let secret = HttpHeader { secrets: vec![Secret::new("key")], ..HttpHeader::default() };
    let authorization = Authorization { credentials: Some(Secret::new("t0ken")), ..Authorization::default() };
    client(HttpClientConfig {
        authorization: Some(authorization),
        http_headers: [("X-Api-Key".to_owned(), secret)].into(),
        follow_redirects,
        ..HttpClientConfig::default()
    })
}

#[tokio::test]
async fn credentials_follow_a_redirect_only_within_their_origin() {
    let (home, away) = (Target::start(redirecting).await, Target::start(redirecting).await);
    let client = with_credentials(true);
    page(&client, home.url("/to//metrics")).await.unwrap();
    page(&client, home.url(&format!("/to/{}", away.url("/metrics")))).await.unwrap();
    page(&client, home.url(&format!("/to/{}", away.url(&format!("/to/{}", home.url("/back")))))).await.unwrap();
    let has_both = |seen: &Seen| (seen.headers.contains_key(AUTHORIZATION), seen.headers.contains_key("x-api-key"));
    assert!(home.seen().iter().all(|seen| has_both(seen) == (true, true)));
    assert_eq!(home.seen().len(), 5, "{:?}", home.seen());
    assert!(away.seen().iter().all(|seen| has_both(seen) == (false, false)));
    assert_eq!(away.seen().len(), 2);
}

#[tokio::test]
async fn redirects_are_bounded_checked_and_only_followed_if_asked() {
    fn circle(_: &str) -> Response<Full<Bytes>> {
        redirecting("/to//again")
    }
    let target = Target::start(redirecting).await;
    let answer = with_credentials(false).get(target.url("/to//metrics"), &HeaderMap::new()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    let fault = page(&with_credentials(true), target.url("/to/file:///etc/passwd")).await.unwrap_err();
    assert!(matches!(fault, ClientError::BadRedirect { .. }), "{fault}");
    let fault = page(&with_credentials(true), Target::start(circle).await.url("/")).await.unwrap_err();
    assert!(matches!(fault, ClientError::TooManyRedirects { max: 10 }), "{fault}");
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bodies by path: `/ENCODING/what`.
fn encoded(path: &str) -> Response<Full<Bytes>> {
    let (encoding, what) = path[1..].split_once('/').unwrap();
    let content = match what {
        "small" | "cut" => b"up 1\n".to_vec(),
        "limit" => vec![b'x'; LIMIT as usize],
        "over" => vec![b'x'; LIMIT as usize + 1],
        _ => vec![0; 256 << 20],
    };
    let mut bytes = match encoding {
        "gzip" => gzip(&content),
        "zstd" => zstd::encode_all(&content[..], 1).unwrap(),
        _ => content,
    };
    if what == "cut" {
        bytes.truncate(bytes.len() - 3);
    }
    let mut answer = Response::new(Full::from(bytes));
    answer.headers_mut().insert(CONTENT_ENCODING, encoding.parse().unwrap());
    answer
}

#[tokio::test]
async fn bodies_are_decoded_up_to_their_limit() {
    let (target, client) = (Target::start(encoded).await, client(HttpClientConfig::default()));
    for encoding in ["identity", "gzip", "zstd"] {
        let at = |what: &str| target.url(&format!("/{encoding}/{what}"));
        assert_eq!(page(&client, at("small")).await.unwrap(), "up 1\n", "{encoding}");
        assert_eq!(page(&client, at("limit")).await.unwrap().len() as u64, LIMIT, "{encoding}");
        let fault = page(&client, at("over")).await.unwrap_err();
        assert!(matches!(fault, ClientError::TooLarge { limit: LIMIT }), "{encoding}: {fault}");
    }
    for encoding in ["gzip", "zstd"] {
        let mut kept = Body::default();
        let answer = client.get(target.url(&format!("/{encoding}/bomb")), &HeaderMap::new()).await.unwrap();
        assert!(matches!(read_limited(answer, LIMIT, &mut kept).await, Err(ClientError::TooLarge { .. })));
        assert!(kept.capacity() as u64 <= 2 * LIMIT, "{} bytes held", kept.capacity());
        let fault = page(&client, target.url(&format!("/{encoding}/cut"))).await.unwrap_err();
        assert!(matches!(fault, ClientError::BadBody { .. }), "{encoding}: {fault}");
    }
    let fault = page(&client, target.url("/br/small")).await.unwrap_err();
    assert!(matches!(fault, ClientError::UnknownEncoding { ref found } if found == "br"), "{fault}");
}

#[tokio::test]
async fn the_bytes_of_the_wire_are_told() {
    let (target, client) = (Target::start(encoded).await, client(HttpClientConfig::default()));
    let mut kept = Body::default();
    for (what, content) in [("limit", vec![b'x'; LIMIT as usize]), ("small", b"up 1\n".to_vec())] {
        let answer = client.get(target.url(&format!("/gzip/{what}")), &HeaderMap::new()).await.unwrap();
        assert_eq!(read_limited(answer, LIMIT, &mut kept).await.unwrap(), gzip(&content).len() as u64);
    }
    assert_eq!(&*kept, b"up 1\n", "memory is used again, and what was in it is gone");
}

#[tokio::test]
async fn a_proxy_is_used_but_for_the_exempt() {
    let target = Target::start(plain).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy_url = format!("http://user:pass@{}", proxy.local_addr().unwrap());
    let config = HttpClientConfig { proxy_url: Some(proxy_url.as_str().into()), ..HttpClientConfig::default() };
    let proxied = client(config.clone());
    let asked = tokio::spawn(async move {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhi\r\n").await.unwrap();
        String::from_utf8(request[..read].to_vec()).unwrap()
    });
    let elsewhere = Url::parse("http://exporter.invalid:9100/metrics").unwrap();
    assert_eq!(page(&proxied, elsewhere.clone()).await.unwrap(), "hi\r\n");
    let asked = asked.await.unwrap();
    assert!(asked.starts_with("GET http://exporter.invalid:9100/metrics HTTP/1.1"), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwyxnz"), "{asked}");

    let exempt = client(HttpClientConfig { no_proxy: "127.0.0.1".to_owned(), ..config });
    assert_eq!(page(&exempt, target.url("/")).await.unwrap(), "up 1\n");
    let fault = page(&proxied, elsewhere).await.unwrap_err().to_string();
    assert!(!fault.contains("pass"), "a proxy's password is in {fault:?}");
    let bad = HttpClientConfig { proxy_url: Some("nonsense://proxy".into()), ..HttpClientConfig::default() };
    assert!(matches!(HttpClient::new(&bad), Err(ClientError::BadProxy { .. })));
}

#[tokio::test]
async fn tls_is_verified_and_shows_who_we_are() {
    let gateway = Gateway::start().await;
    let issued = gateway.collector("alpha");
    let tls_config = TlsClientConfig {
        ca_file: Some(gateway.ca.certificate_path()),
        cert_file: Some(issued.certificate.clone()),
        key_file: issued.key.clone(),
        ..TlsClientConfig::default()
    };
    let url = Url::parse(&format!("https://localhost:{}/", gateway.address.port())).unwrap();
    let config = HttpClientConfig { tls_config, ..HttpClientConfig::default() };
    for (enable_http2, version) in [(true, Version::HTTP_2), (false, Version::HTTP_11)] {
        let client = client(HttpClientConfig { enable_http2, ..config.clone() });
        let answer = client.get(url.clone(), &HeaderMap::new()).await.unwrap();
        assert_eq!(answer.version(), version);
        assert_eq!(answer.text().await.unwrap(), "spiffe://hpc.example/collector/alpha");
    }
    let stranger = client(HttpClientConfig::default());
    let fault = page(&stranger, url).await.unwrap_err().to_string();
    assert!(fault.contains("certificate"), "{fault}");
}
