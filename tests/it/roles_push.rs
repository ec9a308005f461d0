//! From an exporter's page to `/federate`: a collector and a gateway as the program puts them together, restarted at
//! either end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fedgate::cli::collector::role::Collector;
use fedgate::cli::gateway::role::Gateway;
use fedgate::cli::start::Origin;
use fedgate::config::load_collector;
use fedgate::runtime::{CpuPool, Shutdown};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::roles::{Site, get};

/// Series of an exporter's page.
const SERIES: u64 = 50;

/// An exporter whose page changes with every scrape: `test_value{n="…"}` is the scrape's number, all alike.
struct Exporter {
    address: SocketAddr,
    scrapes: Arc<AtomicU64>,
}

impl Exporter {
    async fn start() -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, scrapes) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let count = scrapes.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let page = page(count.fetch_add(1, Ordering::Relaxed) + 1);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
                let answer = format!("{head}Content-Length: {}\r\n\r\n{page}", page.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Exporter { address, scrapes }
    }
}

fn page(scrape: u64) -> String {
    let mut page = "# HELP test_value The scrape's number.\n# TYPE test_value gauge\n".to_owned();
    for n in 0..SERIES {
        writeln!(page, "test_value{{n=\"{n}\"}} {scrape}").unwrap();
    }
    page
}

/// Writes a collector's file that scrapes `exporter` every second and pushes as often.
fn write_config(site: &Site, cluster: &str, gateway: SocketAddr, exporter: SocketAddr) -> PathBuf {
    let issued = site.collector(cluster);
    let text = format!(
        "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\nscrape_configs:\n  - job_name: test\n    \
         static_configs:\n      - targets: [\"{exporter}\"]\npush:\n  url: https://{gateway}\n  tick: 1s\n  \
         backoff_max: 1s\n  tls_config:\n    ca_file: {}\n    cert_file: {}\n    key_file: {}\nhttp:\n  \
         listen: localhost:0\n",
        site.ca.certificate_path().display(),
        issued.certificate.display(),
        issued.key.unwrap().display(),
    );
    let file = site.dir.path().join(format!("{cluster}.yml"));
    std::fs::write(&file, text).unwrap();
    file
}

/// A collector with an end of its own.
struct Running {
    shutdown: Shutdown,
    _collector: Collector,
}

impl Running {
    fn start(file: &Path) -> Running {
        let (config, shutdown) = (load_collector(file).unwrap().config, Shutdown::new());
        let collector = Collector::start(config, &CpuPool::new(1).unwrap(), &shutdown).unwrap();
        Running { shutdown, _collector: collector }
    }

    async fn stop(self) {
        self.shutdown.ending().request();
        assert!(self.shutdown.run(Duration::from_secs(10)).await, "the collector ends in time");
    }
}

/// The values of `test_value` that `/federate` shows, one a series.
async fn values(gateway: &Gateway) -> Vec<u64> {
    let (status, page) = get(gateway, "/federate?match[]=test_value").await;
    assert_eq!(status, 200);
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect()
}

/// Waits until every series shows a value of at least `least`, and sees at every look that all values are alike.
async fn wait_for(gateway: &Gateway, least: u64) {
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let values = values(gateway).await;
        assert!(values.iter().all(|value| *value == values[0]), "a snapshot is seen whole: {values:?}");
        if values.len() == SERIES as usize && values[0] >= least {
            return;
        }
        assert!(Instant::now() < deadline, "expected {SERIES} series of at least {least}, found {values:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_comes_out_of_federate_under_its_cluster() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let exporter = Exporter::start().await;
    let collector = Running::start(&write_config(&site, "alpha", gateway.push, exporter.address));
    wait_for(&gateway, 2).await;
    let (_, page) = get(&gateway, "/federate?match[]={cluster=\"alpha\"}").await;
    let instance = exporter.address;
    for line in [
        format!("test_value{{instance=\"{instance}\",job=\"test\",n=\"7\",cluster=\"alpha\",environment=\"test\"}} "),
        format!("up{{instance=\"{instance}\",job=\"test\",cluster=\"alpha\",environment=\"test\"}} 1 "),
        "fedgate_cluster_up{cluster=\"alpha\",environment=\"test\"".to_owned(),
    ] {
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    assert!(page.contains("job=\"fedgate-collector\""), "the collector's own metrics travel too\n{page}");
    assert_eq!(get(&gateway, "/-/ready").await.0, 200);
    let (_, own) = get(&gateway, "/metrics/self").await;
    assert!(own.contains("fedgate_push_received_samples_total{cluster=\"alpha\""), "{own}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_gateway_has_everything_again_without_an_operator() {
    let mut site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let exporter = Exporter::start().await;
    let collector = Running::start(&write_config(&site, "alpha", gateway.push, exporter.address));
    wait_for(&gateway, 2).await;
    // The same address again, as after a restart of the process.
    site.config.push.listen = gateway.push.to_string();
    let old = std::mem::take(&mut site.shutdown);
    old.ending().request();
    assert!(old.run(Duration::from_secs(15)).await, "the gateway ends in time");
    let gateway = site.start().await;
    assert!(values(&gateway).await.is_empty());
    let seen = exporter.scrapes.load(Ordering::Relaxed);
    wait_for(&gateway, seen).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_collector_goes_on_at_once() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let exporter = Exporter::start().await;
    let file = write_config(&site, "alpha", gateway.push, exporter.address);
    let collector = Running::start(&file);
    wait_for(&gateway, 2).await;
    collector.stop().await;
    let seen = exporter.scrapes.load(Ordering::Relaxed);
    assert_eq!(values(&gateway).await, vec![seen; SERIES as usize], "the last scrapes went out before the end");
    let collector = Running::start(&file);
    wait_for(&gateway, seen + 1).await;
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_s_reload_takes_targets_and_keeps_the_old_on_a_fault() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let (one, two) = (Exporter::start().await, Exporter::start().await);
    let file = write_config(&site, "alpha", gateway.push, one.address);
    let (shutdown, pool) = (Shutdown::new(), CpuPool::new(1).unwrap());
    let collector = Collector::start(load_collector(&file).unwrap().config, &pool, &shutdown).unwrap();
    let origin = Origin { file: file.clone(), enable_reload: true };
    let pages = collector.serve_pages("127.0.0.1:0", origin, &pool, &shutdown).await.unwrap();
    wait_for(&gateway, 2).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let text =
        async |path: &str| client.get(format!("http://{pages}{path}")).send().await.unwrap().text().await.unwrap();
    let reload = async || {
        let answer = client.post(format!("http://{pages}/-/reload")).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert!(text("/-/ready").await.contains("Ready"));
    assert!(text("/targets").await.contains(&one.address.to_string()));
    assert!(text("/metrics").await.contains("fedgate_collector_pushes_total{result=\"200\"}"));

    std::fs::write(&file, "scrape_configs: 7\n").unwrap();
    assert_eq!(reload().await.0, 500);
    assert!(text("/targets").await.contains(&one.address.to_string()), "the old targets stay");

    write_config(&site, "alpha", gateway.push, two.address);
    assert_eq!(reload().await, (200, String::new()));
    let deadline = Instant::now() + Duration::from_secs(15);
    loop {
        let (_, page) = get(&gateway, "/federate?match[]=up").await;
        let shows = |exporter: &Exporter| page.contains(&format!("instance=\"{}\"", exporter.address));
        if shows(&two) && !shows(&one) {
            break;
        }
        assert!(Instant::now() < deadline, "expected {} alone in\n{page}", two.address);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    shutdown.ending().request();
    assert!(shutdown.run(Duration::from_secs(10)).await);
}
