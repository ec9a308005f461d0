//! Scrape loops against real HTTP servers on loopback: what is asked for, what counts as a page, and when targets end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use fedgate::config::{
    Authorization, BasicAuth, CollectorConfig, FileSdConfig, HttpSdConfig, ScrapeConfig, ScrapeProtocol, Secret,
    StaticConfig,
};
use fedgate::discovery::Target;
use fedgate::exposition::{Format, SCRAPE_ACCEPT};
use fedgate::model::{Labels, Timestamp, is_stale};
use fedgate::runtime::{CpuPool, Shutdown, Stage, clock};
use fedgate::scrape::{Health, Manager, OWN_JOB, ScrapeError, first_start, offset};
use fedgate::snapshot::{Outcome, Scrape};

/// Also the time-out: long enough for a loaded machine.
const INTERVAL: Duration = Duration::from_millis(250);
const TEXT: &str = "Content-Type: text/plain; version=0.0.4";

/// What a test's server sends, piece by piece, with a pause before each but the first.
type Reply = Vec<Vec<u8>>;

/// An HTTP server of one handler, a thread a connection; the heads of its requests are kept.
struct Exporter {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Exporter {
    fn start(pause: Duration, handler: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (heads, handler) = (Arc::new(Mutex::new(Vec::new())), Arc::new(handler));
        let kept = heads.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (heads, handler) = (kept.clone(), handler.clone());
                std::thread::spawn(move || answer(connection, pause, &heads, &*handler));
            }
        });
        Exporter { address, heads }
    }

    /// A server that always sends this head and body.
    fn page(head: &str, body: &[u8]) -> Exporter {
        let reply = ok(head, body);
        Exporter::start(Duration::ZERO, move |_| reply.clone())
    }

    fn head(&self) -> String {
        self.heads.lock().unwrap().first().cloned().expect("a request came")
    }

    fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }
}

fn answer(mut connection: TcpStream, pause: Duration, heads: &Mutex<Vec<String>>, handler: &dyn Fn(&str) -> Reply) {
    let mut head = String::new();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    while reader.read_line(&mut head).is_ok_and(|bytes| bytes > 2) {}
    if head.is_empty() {
        return;
    }
    heads.lock().unwrap().push(head.clone());
    for (nth, piece) in handler(&head).iter().enumerate() {
        if nth > 0 {
            std::thread::sleep(pause);
        }
        if connection.write_all(piece).is_err() {
            return;
        }
    }
}

fn ok(head: &str, body: &[u8]) -> Reply {
    response("200 OK", head, body)
}

fn response(status: &str, head: &str, body: &[u8]) -> Reply {
    let head = if head.is_empty() { String::new() } else { format!("{head}\r\n") };
    let mut reply =
        format!("HTTP/1.1 {status}\r\n{head}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    reply.extend_from_slice(body);
    vec![reply]
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn job(address: SocketAddr) -> ScrapeConfig {
    ScrapeConfig {
        job_name: "j".to_owned(),
        scrape_interval: INTERVAL,
        scrape_timeout: INTERVAL,
        static_configs: vec![StaticConfig { targets: vec![address.to_string()], ..StaticConfig::default() }],
        ..ScrapeConfig::default()
    }
}

fn collector(jobs: Vec<ScrapeConfig>) -> CollectorConfig {
    CollectorConfig { scrape_configs: jobs, ..CollectorConfig::default() }
}

/// A running manager and what it needs.
struct Scraping {
    manager: Manager,
    shutdown: Shutdown,
    pool: CpuPool,
}

impl Scraping {
    fn start(config: &CollectorConfig) -> Scraping {
        let (shutdown, pool) = (Shutdown::new(), CpuPool::new(1).unwrap());
        let manager = Manager::start(config, &shutdown.tasks(Stage::Intake), &pool).unwrap();
        Scraping { manager, shutdown, pool }
    }

    /// The next scrapes, at least `count` of them.
    async fn scrapes(&self, count: usize) -> Vec<Scrape> {
        let mut scrapes = Vec::new();
        for _ in 0..1000 {
            scrapes.extend(self.manager.take_finished());
            if scrapes.len() >= count {
                return scrapes;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} scrapes in 10 s, expected {count}", scrapes.len());
    }

    async fn scrape(&self) -> Scrape {
        self.scrapes(1).await.remove(0)
    }

    async fn end(self) {
        self.shutdown.ending().request();
        assert!(self.shutdown.run(Duration::from_secs(5)).await);
        drop(self.pool);
    }
}

/// The first scrape of a job, with the error that it was refused for.
async fn first(job: ScrapeConfig) -> (Scrape, Option<ScrapeError>) {
    let scraping = Scraping::start(&collector(vec![job]));
    let scrape = scraping.scrape().await;
    let status = scraping.manager.targets().remove(0);
    assert_eq!(status.health == Health::Up, scrape.outcome == Outcome::Up);
    assert!(status.last_scrape.is_some_and(|at| at >= scrape.started));
    scraping.end().await;
    (scrape, status.last_error)
}

async fn refused(job: ScrapeConfig) -> ScrapeError {
    let (scrape, error) = first(job).await;
    assert_eq!(scrape.outcome, Outcome::Failed);
    assert!(scrape.values.iter().all(|value| is_stale(*value)));
    error.expect("a failed scrape has its reason")
}

async fn taken(job: ScrapeConfig) -> Scrape {
    let (scrape, error) = first(job).await;
    assert_eq!((scrape.outcome, error), (Outcome::Up, None));
    scrape
}

/// Polls until `done` says so.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}

#[tokio::test]
async fn asks_as_prometheus_does_and_takes_the_page() {
    let exporter = Exporter::page(TEXT, b"a 1\nb 2\n");
    let config = ScrapeConfig { params: [("x".to_owned(), vec!["1 2".to_owned()])].into(), ..job(exporter.address) };
    let scrape = taken(config).await;
    assert_eq!(scrape.values, [1.0, 2.0]);
    assert_eq!(*scrape.target, Labels::from_pairs([("job", "j"), ("instance", exporter.address.to_string().as_str())]));
    assert_eq!(
        (scrape.report.samples_scraped, scrape.report.samples_post_relabel, scrape.report.series_added),
        (2, 2, 2)
    );
    assert_eq!((scrape.report.body_bytes, scrape.report.timeout, scrape.report.sample_limit), (None, None, None));
    let head = exporter.head();
    assert!(head.starts_with("GET /metrics?x=1+2 HTTP/1.1\r\n"), "{head}");
    for line in [
        format!("accept: {SCRAPE_ACCEPT}\r\n"),
        "accept-encoding: gzip\r\n".to_owned(),
        "x-prometheus-scrape-timeout-seconds: 0.25\r\n".to_owned(),
        format!("user-agent: fedgate/{}\r\n", env!("CARGO_PKG_VERSION")),
        format!("host: {}\r\n", exporter.address),
    ] {
        assert_eq!(head.to_ascii_lowercase().matches(&line.to_ascii_lowercase()).count(), 1, "{line} in {head}");
    }
}

#[tokio::test]
async fn only_status_200_is_a_page() {
    for (status, number) in [("500 Broken", 500), ("404 Not Found", 404), ("204 No Content", 204), ("201 Created", 201)]
    {
        let reply = response(status, TEXT, if number == 204 { b"" } else { b"a 1\n" });
        let exporter = Exporter::start(Duration::ZERO, move |_| reply.clone());
        assert_eq!(refused(job(exporter.address)).await, ScrapeError::Status(number));
    }
}

#[tokio::test]
async fn the_content_type_decides_how_a_page_is_read() {
    for (head, fallback, is_taken) in [
        ("", None, false),
        ("", Some(ScrapeProtocol::PrometheusText0_0_4), true),
        ("Content-Type: text/html", None, false),
        ("Content-Type: text/html", Some(ScrapeProtocol::PrometheusText0_0_4), true),
        ("Content-Type: text/plain", None, true),
        // The page is no OpenMetrics: it lacks its end.
        ("Content-Type: application/openmetrics-text; version=1.0.0", Some(ScrapeProtocol::PrometheusText0_0_4), false),
    ] {
        let exporter = Exporter::page(head, b"a 1\n");
        let config = ScrapeConfig { fallback_scrape_protocol: fallback, ..job(exporter.address) };
        let (scrape, error) = first(config).await;
        assert_eq!(scrape.outcome == Outcome::Up, is_taken, "{head:?} {fallback:?}: {error:?}");
    }
    let empty = Exporter::page("", b"");
    assert_eq!(taken(job(empty.address)).await.report.samples_scraped, 0, "an empty page needs no type");
}

#[tokio::test]
async fn gzip_is_asked_for_and_read_and_nothing_else_is() {
    let zipped = Exporter::page(&format!("{TEXT}\r\nContent-Encoding: gzip"), &gzip(b"a 1\n"));
    assert_eq!(taken(job(zipped.address)).await.values, [1.0]);
    let plain = Exporter::page(TEXT, b"a 1\n");
    taken(ScrapeConfig { enable_compression: false, ..job(plain.address) }).await;
    assert!(plain.head().to_ascii_lowercase().contains("accept-encoding: identity\r\n"));
    for (encoding, body) in
        [("br", b"a 1\n".to_vec()), ("gzip", b"a 1\n".to_vec()), ("gzip", gzip(b"a 1\n")[..12].to_vec())]
    {
        let exporter = Exporter::page(&format!("{TEXT}\r\nContent-Encoding: {encoding}"), &body);
        let error = refused(job(exporter.address)).await;
        assert!(matches!(error, ScrapeError::Request(_)), "{encoding}");
        assert!(error.to_string().starts_with("content-encoding"), "it says what the body should have been: {error}");
    }
}

#[tokio::test]
async fn the_limit_on_a_page_holds_after_decompression() {
    let bomb = gzip(&[b'#'; 32 << 20]);
    let exporter = Exporter::page(&format!("{TEXT}\r\nContent-Encoding: gzip"), &bomb);
    let config = ScrapeConfig {
        body_size_limit: "1MB".parse().unwrap(),
        extra_scrape_metrics: Some(true),
        scrape_interval: Duration::from_secs(1),
        scrape_timeout: Duration::from_secs(1),
        ..job(exporter.address)
    };
    let (scrape, error) = first(config).await;
    assert_eq!(error, Some(ScrapeError::BodySize { limit: 1 << 20 }));
    assert_eq!(scrape.report.body_bytes, Some(-1));
    assert_eq!((scrape.report.timeout, scrape.report.sample_limit), (Some(Duration::from_secs(1)), Some(0)));
}

#[tokio::test]
async fn a_page_of_exactly_the_limit_is_over_it() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    for (limit, is_taken) in [("4", false), ("5", true)] {
        let config = ScrapeConfig {
            body_size_limit: limit.parse().unwrap(),
            extra_scrape_metrics: Some(true),
            ..job(exporter.address)
        };
        let (scrape, _) = first(config).await;
        assert_eq!(scrape.outcome == Outcome::Up, is_taken);
        assert_eq!(scrape.report.body_bytes, Some(if is_taken { 4 } else { -1 }));
    }
}

#[tokio::test]
async fn a_page_that_is_late_or_breaks_off_is_none() {
    let body_in_two = || {
        let mut reply = ok(TEXT, b"a 1\nb 2\n");
        let cut = reply[0].len() - 4;
        let rest = reply[0].split_off(cut);
        reply.push(rest);
        reply
    };
    for reply in [vec![Vec::new(), b"HTTP/1.1 200 OK\r\n\r\n".to_vec()], body_in_two()] {
        let exporter = Exporter::start(2 * INTERVAL, move |_| reply.clone());
        assert_eq!(refused(job(exporter.address)).await, ScrapeError::Timeout(INTERVAL));
    }
    let cut = vec![body_in_two().remove(0)];
    let exporter = Exporter::start(Duration::ZERO, move |_| cut.clone());
    assert!(matches!(refused(job(exporter.address)).await, ScrapeError::Request(_)));
}

#[tokio::test]
async fn redirects_are_followed_if_the_job_says_so() {
    let exporter = Exporter::start(Duration::ZERO, |head| match head.contains("/moved") {
        true => ok(TEXT, b"a 1\n"),
        false => response("302 Found", "Location: /moved", b""),
    });
    assert_eq!(taken(job(exporter.address)).await.values, [1.0]);
    let config = ScrapeConfig { follow_redirects: false, ..job(exporter.address) };
    assert_eq!(refused(config).await, ScrapeError::Status(302));
}

#[tokio::test]
async fn credentials_are_sent() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let basic = BasicAuth { username: "me".to_owned(), password: Some(Secret::new("secret")), ..BasicAuth::default() };
    taken(ScrapeConfig { basic_auth: Some(basic), ..job(exporter.address) }).await;
    let expected =
        format!("authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode("me:secret"));
    assert!(exporter.head().contains(&expected), "{}", exporter.head());
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "abc\n").unwrap();
    let bearer = Authorization { credentials_file: Some(file), ..Authorization::default() };
    taken(ScrapeConfig { authorization: Some(bearer), ..job(exporter.address) }).await;
    assert!(exporter.head().contains("authorization: Bearer abc\r\n"), "{}", exporter.head());
}

#[tokio::test]
async fn a_proxy_is_asked_instead_of_the_target() {
    let proxy = Exporter::page(TEXT, b"a 1\n");
    let config = ScrapeConfig {
        proxy_url: Some(format!("http://{}", proxy.address).into()),
        static_configs: vec![StaticConfig { targets: vec!["node.example:9100".to_owned()], ..StaticConfig::default() }],
        ..job(proxy.address)
    };
    taken(config).await;
    assert!(proxy.head().starts_with("GET http://node.example:9100/metrics HTTP/1.1\r\n"), "{}", proxy.head());
}

#[tokio::test]
async fn a_target_fails_and_recovers() {
    let broken = Arc::new(AtomicUsize::new(0));
    let state = broken.clone();
    let exporter = Exporter::start(Duration::ZERO, move |_| match state.load(Ordering::Relaxed) {
        0 => ok(TEXT, b"a 1\n"),
        _ => response("503 Busy", TEXT, b""),
    });
    let scraping = Scraping::start(&collector(vec![job(exporter.address)]));
    let before = scraping.scrape().await;
    assert_eq!((before.outcome, before.report.series_added), (Outcome::Up, 1));
    for (state, outcome) in [(1, Outcome::Failed), (0, Outcome::Up)] {
        broken.store(state, Ordering::Relaxed);
        let mut last = None;
        for _ in 0..20 {
            last = scraping.scrapes(1).await.pop();
            if last.as_ref().is_some_and(|scrape| scrape.outcome == outcome) {
                break;
            }
        }
        let last = last.unwrap();
        assert_eq!((last.outcome, last.report.series_added), (outcome, 0));
        assert_eq!(last.schema.hash(), before.schema.hash());
        assert_eq!(is_stale(last.values[0]), outcome == Outcome::Failed);
    }
    scraping.end().await;
}

#[tokio::test]
async fn nobody_listens() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = refused(job(address)).await;
    assert!(matches!(&error, ScrapeError::Request(text) if text.contains("refused")), "{error}");
}

#[tokio::test]
async fn over_target_limit_every_scrape_fails_unasked() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let mut config = ScrapeConfig { target_limit: 1, ..job(exporter.address) };
    config.static_configs.push(StaticConfig { targets: vec!["127.0.0.1:1".to_owned()], ..StaticConfig::default() });
    let scraping = Scraping::start(&collector(vec![config]));
    for scrape in scraping.scrapes(4).await {
        assert_eq!(scrape.outcome, Outcome::Failed);
    }
    for status in scraping.manager.targets() {
        assert_eq!(status.last_error, Some(ScrapeError::TargetLimit { targets: 2, limit: 1 }));
    }
    assert_eq!(exporter.requests(), 0);
    scraping.end().await;
}

#[tokio::test]
async fn scrapes_are_an_interval_apart_and_at_the_targets_own_point() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let scraping = Scraping::start(&collector(vec![job(exporter.address)]));
    let scrapes = scraping.scrapes(5).await;
    let target = scraping.manager.targets().remove(0).target;
    scraping.end().await;
    let point = offset(&target).as_millis() as i64;
    for pair in scrapes.windows(2) {
        let apart = pair[1].started.0 - pair[0].started.0;
        assert!((200..=300).contains(&apart), "{apart} ms");
    }
    let late = scrapes.iter().map(|scrape| (scrape.started.0 - point).rem_euclid(250)).min();
    assert!(late.is_some_and(|late| late <= 20), "{late:?} ms");
}

#[tokio::test]
async fn one_scrape_of_a_target_is_in_flight() {
    let (exporter, most) = slow_exporter(Duration::from_millis(200));
    let scraping = Scraping::start(&collector(vec![job(exporter.address)]));
    scraping.scrapes(4).await;
    scraping.end().await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

/// An exporter that takes `pause` for a page and notes the most requests that were open at once.
fn slow_exporter(pause: Duration) -> (Exporter, Arc<AtomicUsize>) {
    let (open, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let own_most = most.clone();
    let exporter = Exporter::start(Duration::ZERO, move |_| {
        own_most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(pause);
        open.fetch_sub(1, Ordering::SeqCst);
        ok(TEXT, b"a 1\n")
    });
    (exporter, most)
}

/// Twenty targets of one exporter, told apart by a label, so many of them scraped at once.
fn twenty_targets(exporter: &Exporter, concurrent_scrapes_max: usize) -> CollectorConfig {
    let mut config = collector(vec![job(exporter.address)]);
    let group = config.scrape_configs[0].static_configs.remove(0);
    let numbered = |nth: u32| StaticConfig { labels: [("nth".to_owned(), nth.to_string())].into(), ..group.clone() };
    config.scrape_configs[0].static_configs = (0..20).map(numbered).collect();
    config.limits.concurrent_scrapes_max = concurrent_scrapes_max;
    config
}

#[tokio::test]
async fn no_more_scrapes_than_allowed_are_in_flight() {
    let (exporter, most) = slow_exporter(Duration::from_millis(50));
    let scraping = Scraping::start(&twenty_targets(&exporter, 2));
    scraping.scrapes(20).await;
    scraping.end().await;
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_reload_allows_fewer_scrapes_even_while_all_are_in_flight() {
    let (exporter, most) = slow_exporter(Duration::from_millis(50));
    let scraping = Scraping::start(&twenty_targets(&exporter, 3));
    until("all in flight", || most.load(Ordering::SeqCst) >= 3).await;
    scraping.manager.reload(&twenty_targets(&exporter, 1)).unwrap();
    scraping.scrapes(8).await;
    most.store(0, Ordering::SeqCst);
    scraping.scrapes(8).await;
    scraping.end().await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_large_page_is_read_on_the_pool() {
    let page: String =
        (0..20_000).map(|series| format!("metric_with_some_name{{series=\"{series}\"}} {series}\n")).collect();
    let exporter = Exporter::page(TEXT, page.as_bytes());
    let config = ScrapeConfig {
        scrape_interval: Duration::from_secs(2),
        scrape_timeout: Duration::from_secs(2),
        ..job(exporter.address)
    };
    let scrape = taken(config).await;
    assert_eq!((scrape.values.len(), scrape.values[19_999]), (20_000, 19_999.0));
}

/// Writes a target file in one step.
fn write_targets(file: &Path, targets: &[String]) {
    let list = serde_json::json!([{ "targets": targets }]).to_string();
    let temporary = file.with_extension("new");
    std::fs::write(&temporary, list).unwrap();
    std::fs::rename(&temporary, file).unwrap();
}

#[tokio::test]
async fn a_removed_target_ends_two_intervals_later_and_not_if_it_comes_back() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("targets.json");
    let interval = Duration::from_millis(600);
    let targets = [exporter.address.to_string()];
    write_targets(&file, &targets);
    let files = FileSdConfig { files: vec![file.clone()], refresh_interval: Duration::from_millis(50) };
    let config = ScrapeConfig {
        static_configs: Vec::new(),
        file_sd_configs: vec![files],
        scrape_interval: interval,
        scrape_timeout: interval,
        ..job(exporter.address)
    };
    let scraping = Scraping::start(&collector(vec![config]));
    let found = scraping.scrape().await;
    write_targets(&file, &[]);
    until("the target leaves", || scraping.manager.targets().is_empty()).await;
    write_targets(&file, &targets);
    until("the target is back", || scraping.manager.targets().len() == 1).await;
    let back = scraping.scrape().await;
    assert_eq!((back.outcome, back.report.series_added), (Outcome::Up, 0), "as if it had never been away");
    assert_eq!(back.schema.hash(), found.schema.hash());
    write_targets(&file, &[]);
    let mut scrapes = scraping.scrapes(1).await;
    while scrapes.last().is_none_or(|scrape| scrape.outcome != Outcome::Gone) {
        scrapes.extend(scraping.scrapes(1).await);
    }
    let now = clock::now();
    let gone = scrapes.pop().unwrap();
    let last = scrapes.last().map_or(back.started, |scrape| scrape.started);
    let after = gone.started.0 - last.0;
    assert!((500..=700).contains(&after), "the series end when the next scrape was due, not {after} ms later");
    assert!(now.since(gone.started) >= interval, "and that is told an interval later");
    scraping.end().await;
}

#[tokio::test]
async fn a_shutdown_ends_no_series() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let scraping = Scraping::start(&collector(vec![job(exporter.address)]));
    scraping.scrape().await;
    let manager = scraping.manager.clone();
    scraping.end().await;
    assert!(manager.take_finished().iter().all(|scrape| scrape.outcome == Outcome::Up));
}

#[tokio::test]
async fn a_reload_keeps_what_it_does_not_change() {
    let exporter = Exporter::page(TEXT, b"a 1\nb 2\n");
    let mut config = collector(vec![job(exporter.address), job(exporter.address)]);
    config.scrape_configs[1].job_name = "other".to_owned();
    let scraping = Scraping::start(&config);
    let before = scraping.scrapes(2).await.remove(0);
    config.scrape_configs.truncate(1);
    config.scrape_configs[0].metric_relabel_configs = vec![fedgate::config::RelabelConfig {
        source_labels: vec!["__name__".to_owned()],
        regex: "a".to_owned(),
        action: fedgate::config::RelabelAction::Drop,
        ..Default::default()
    }];
    scraping.manager.reload(&config).unwrap();
    let mut scrapes = Vec::new();
    while !scrapes.iter().any(|scrape: &Scrape| scrape.outcome == Outcome::Gone) {
        scrapes.extend(scraping.scrapes(1).await);
    }
    let (gone, stayed): (Vec<_>, Vec<_>) = scrapes.iter().partition(|scrape| scrape.target.get("job") == Some("other"));
    assert_eq!(gone.last().unwrap().outcome, Outcome::Gone);
    assert!(stayed.iter().all(|scrape| scrape.outcome == Outcome::Up));
    let last = stayed.last().unwrap();
    assert_eq!((last.schema.hash(), last.values.len()), (before.schema.hash(), 2), "slots stay");
    assert!(is_stale(last.values[0]) && last.values[1] == 2.0, "{:?}", last.values);
    scraping.end().await;
}

#[tokio::test]
async fn a_bad_reload_changes_nothing() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let mut config = collector(vec![job(exporter.address)]);
    let scraping = Scraping::start(&config);
    scraping.scrape().await;
    config.scrape_configs[0].job_name = "renamed".to_owned();
    config.scrape_configs[0].proxy_url = Some("no proxy at all".to_owned().into());
    assert!(scraping.manager.reload(&config).is_err());
    assert_eq!(scraping.scrape().await.target.get("job"), Some("j"));
    scraping.end().await;
}

#[tokio::test]
async fn targets_of_two_jobs_with_the_same_labels_are_told() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let mut jobs = vec![job(exporter.address), job(exporter.address)];
    jobs[1].job_name = "other".to_owned();
    jobs[1].static_configs[0].labels.insert("job".to_owned(), "j".to_owned());
    let scraping = Scraping::start(&collector(jobs));
    until("a fault", || !scraping.manager.target_faults().is_empty()).await;
    assert_eq!(scraping.manager.targets().len(), 1);
    assert_eq!(scraping.manager.counters().refused_targets()[0], ("invalid", 1));
    scraping.end().await;
}

#[tokio::test]
async fn http_discovery_finds_targets_and_keeps_them_when_it_fails() {
    let exporter = Exporter::page(TEXT, b"a 1\n");
    let answers = Arc::new(AtomicUsize::new(0));
    let (address, count) = (exporter.address, answers.clone());
    let endpoint = Exporter::start(Duration::ZERO, move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => ok(
            "Content-Type: application/json",
            format!(r#"[{{"targets":["{address}"],"labels":{{"rack":"7"}}}}]"#).as_bytes(),
        ),
        1 => response("500 Broken", "", b""),
        2 => ok("Content-Type: text/plain", b"[]"),
        _ => ok("Content-Type: application/json", b"{"),
    });
    let config = ScrapeConfig {
        static_configs: Vec::new(),
        http_sd_configs: vec![HttpSdConfig {
            url: format!("http://{}/sd", endpoint.address).into(),
            refresh_interval: Duration::from_millis(50),
            ..HttpSdConfig::default()
        }],
        ..job(exporter.address)
    };
    let scraping = Scraping::start(&collector(vec![config]));
    assert_eq!(scraping.scrape().await.target.get("rack"), Some("7"));
    let head = endpoint.head().to_ascii_lowercase();
    assert!(head.contains("x-prometheus-refresh-interval-seconds: 0.05\r\n"), "{head}");
    assert!(head.contains("accept: application/json\r\n"), "{head}");
    until("three bad answers", || scraping.manager.discovery_counters().faults()[1].1 >= 3).await;
    assert_eq!(scraping.manager.targets().len(), 1);
    scraping.end().await;
}

#[tokio::test]
async fn external_labels_identify_the_target_and_leave_its_series_alone() {
    let exporter = Exporter::page(TEXT, b"a{site=\"own\"} 1\nb 2\n");
    let mut config = collector(vec![job(exporter.address)]);
    config.global.external_labels =
        [("site".to_owned(), "north".to_owned()), ("job".to_owned(), "x".to_owned())].into();
    let scraping = Scraping::start(&config);
    let scrape = scraping.scrape().await;
    scraping.end().await;
    assert_eq!((scrape.target.get("site"), scrape.target.get("job")), (Some("north"), Some("j")));
    let chunk = &scrape.schema.chunks()[0];
    let site = |slot| chunk.labels(slot, &scrape.target).unwrap().get("site").map(str::to_owned);
    assert_eq!((site(0).as_deref(), site(1).as_deref()), (Some("own"), Some("north")));
}

#[tokio::test]
async fn the_collectors_own_page_is_a_target_too() {
    let scraping = Scraping::start(&collector(Vec::new()));
    let external = Labels::from_pairs([("site", "north")]);
    let mut own = scraping.manager.own_target("host", &external);
    let page = b"# TYPE fedgate_collector_scrapes counter\nfedgate_collector_scrapes_total 7\n# EOF\n";
    let scrape = own.scrape(page, Format::OpenMetrics, Timestamp(5), Duration::from_micros(3));
    let labels = Labels::from_pairs([("job", OWN_JOB), ("instance", "host"), ("site", "north")]);
    assert_eq!((scrape.outcome, &*scrape.target, &scrape.values[..]), (Outcome::Up, &labels, &[7.0][..]));
    assert_eq!((scrape.started, scrape.duration), (Timestamp(5), Duration::from_micros(3)));
    assert_eq!(own.scrape(b"broken", Format::Text, Timestamp(6), Duration::ZERO).outcome, Outcome::Failed);
    assert_eq!(scraping.manager.counters().scrapes(), 2);
    scraping.end().await;
}

#[test]
fn targets_are_spread_evenly_over_their_interval_and_stay_where_they_are() {
    let interval = Duration::from_secs(15);
    let target = |number: usize| Target {
        labels: Arc::new(Labels::from_pairs([("job", "node"), ("instance", format!("n{number}:9100").as_str())])),
        url: format!("http://n{number}:9100/metrics").into(),
        interval,
        timeout: interval,
    };
    let mut per_second = [0; 15];
    for number in 0..1500 {
        let point = offset(&target(number));
        assert!(point < interval);
        per_second[point.as_secs() as usize] += 1;
    }
    assert!(per_second.iter().all(|count| (60..=140).contains(count)), "{per_second:?}");
    assert_eq!(offset(&target(1)).as_millis(), OFFSET_OF_N1_MS, "a restart or an upgrade moves no target");
}

/// Where the second target of the test above stands.
const OFFSET_OF_N1_MS: u128 = 11_389;

#[test]
fn the_first_scrape_is_the_next_point_of_the_grid() {
    let (interval, point) = (Duration::from_secs(10), Duration::from_secs(3));
    for (now, start) in [(0, 3_000), (3_000, 3_000), (3_001, 13_000), (12_999, 13_000), (-8_000, -7_000)] {
        assert_eq!(first_start(Timestamp(now), interval, point), Timestamp(start));
    }
}
