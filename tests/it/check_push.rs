//! `fedgate check push`, the program itself, against a gateway in this process: what it says at each step that can fail.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use fedgate::cli::gateway::role::Gateway;
use fedgate::runtime::clock;
use fedgate::tls::ca::{Authority, Issued};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::roles::Site;

/// What a collector's file says; a test changes what it is about.
#[derive(Clone)]
struct Collector {
    file: PathBuf,
    url: String,
    ca: PathBuf,
    issued: PathBuf,
    key: PathBuf,
    more: String,
    tls_more: String,
}

impl Collector {
    fn new(site: &Site, address: SocketAddr, issued: &Issued) -> Collector {
        Collector {
            file: site.dir.path().join("collector.yml"),
            url: format!("https://localhost:{}", address.port()),
            ca: site.ca.certificate_path(),
            issued: issued.certificate.clone(),
            key: issued.key.clone().unwrap(),
            more: String::new(),
            tls_more: String::new(),
        }
    }

    fn of(site: &Site, gateway: &Gateway) -> Collector {
        Collector::new(site, gateway.push, &site.collector("alpha"))
    }

    /// Whether the check passed, and what it said.
    async fn check(&self) -> (bool, String) {
        let text = format!(
            "push:\n  url: {}\n{}  tls_config: {{ca_file: {}, cert_file: {}, key_file: {}{}}}\n\
             scrape_configs:\n- job_name: node\n  static_configs:\n  - targets: ['localhost:9100']\n",
            self.url,
            self.more,
            self.ca.display(),
            self.issued.display(),
            self.key.display(),
            self.tls_more,
        );
        fs::write(&self.file, text).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_fedgate"));
        program.args(["check", "push", "--config"]).arg(&self.file);
        let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
        assert!(output.status.success() || output.status.code() == Some(1));
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    }

    /// The check must fail at `step`, after steps that went well, and say `words`.
    async fn fails(&self, step: &str, words: &[&str]) {
        let (passed, said) = self.check().await;
        assert!(!passed, "{said}");
        let (fine, end) = said.split_once("FAILED").unwrap_or_else(|| panic!("nothing failed:\n{said}"));
        assert!(end.trim_start().starts_with(step), "another step than {step}:\n{said}");
        assert!(fine.lines().all(|line| ["ok", "warning", "  "].iter().any(|mark| line.starts_with(mark))), "{said}");
        assert!(end.contains("to fix:"), "{said}");
        words.iter().for_each(|word| assert!(end.contains(word), "{word:?} is not in:\n{said}"));
    }
}

fn steps(said: &str) -> Vec<&str> {
    let told = said.lines().filter(|line| !line.starts_with(' '));
    told.map(|line| line.split_whitespace().nth(1).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_way_is_told_step_by_step() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let (passed, said) = Collector::of(&site, &gateway).check().await;
    assert!(passed, "{said}");
    let expected = ["configuration", "own", "name", "connection", "TLS", "acceptance", "identity", "clock", "frames"];
    assert_eq!(steps(&said), expected, "{said}");
    assert!(said.contains("cluster=\"alpha\", environment=\"test\" as spiffe://hpc.example/collector/alpha"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_our_own_files_is_told_first() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let good = Collector::of(&site, &gateway);
    let year = Duration::from_secs(365 * 86_400);
    let expired = site.ca.issue_collector("alpha", &[], clock::now() - 2 * year).unwrap();
    Collector::new(&site, gateway.push, &expired).fails("own certificate", &["expired at", "issue a new one"]).await;
    let early = site.ca.issue_collector("alpha", &[], clock::now() + year).unwrap();
    Collector::new(&site, gateway.push, &early).fails("own certificate", &["not valid before", "clock"]).await;
    let mixed = Collector { key: expired.key.clone().unwrap(), ..good.clone() };
    mixed.fails("own certificate", &["does not belong to the certificate"]).await;
    let unclear = Collector { more: "  ticks: 5s\n".to_owned(), ..good };
    unclear.fails("configuration", &["ticks", "check config"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_near_its_end_is_a_warning() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let old = site.ca.issue_collector("alpha", &[], clock::now() - Duration::from_secs(350 * 86_400)).unwrap();
    let (passed, said) = Collector::new(&site, gateway.push, &old).check().await;
    assert!(passed && said.contains("warning  own certificate") && said.contains("better:"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_ports_that_lead_nowhere_are_told() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let good = Collector::of(&site, &gateway);
    let nowhere = Collector { url: "https://gateway.invalid:9491".to_owned(), ..good.clone() };
    nowhere.fails("name", &["gateway.invalid cannot be resolved"]).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let closed = Collector { url: format!("https://{free}"), ..good };
    closed.fails("connection", &[&free.to_string(), "is the gateway running"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_gateway_is_told() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let good = Collector::of(&site, &gateway);
    let other = Authority::init(&site.dir.path().join("other"), "hpc.example", clock::now()).unwrap();
    let foreign = Collector { ca: other.certificate_path(), ..good.clone() };
    foreign.fails("TLS", &["ca_file must be the CA"]).await;
    let named = Collector { tls_more: ", server_name: elsewhere.example".to_owned(), ..good.clone() };
    named.fails("TLS", &["not valid for name", "fedgate certs gateway DIR --host"]).await;
    let readers = Collector { url: format!("https://localhost:{}", gateway.readers.port()), ..good };
    readers.fails("TLS", &["push listener"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_gateway_holds_against_us_is_told() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let good = Collector::of(&site, &gateway);
    let other = Authority::init(&site.dir.path().join("other"), "hpc.example", clock::now()).unwrap();
    let forged = other.issue_collector("alpha", &[], clock::now()).unwrap();
    Collector::new(&site, gateway.push, &forged).fails("acceptance", &["client_ca_file"]).await;

    let unlisted = Collector::new(&site, gateway.push, &site.collector("gamma"));
    let words = ["spiffe://hpc.example/collector/gamma", "is in the inventory", "identities"];
    unlisted.fails("identity", &words).await;

    let revoked = site.collector("alpha");
    site.ca.revoke(&revoked.record.serial, clock::now()).unwrap();
    let start = std::time::Instant::now();
    let mine = Collector::new(&site, gateway.push, &revoked);
    while mine.check().await.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "a revoked certificate is still taken");
    }
    mine.fails("acceptance", &["revocation list"]).await;
    assert!(good.check().await.0);
}

/// A CONNECT proxy for one connection after the other, which answers with `line` and tunnels if that is a 200.
async fn proxy(line: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 1024];
                let read = client.read(&mut asked).await.unwrap();
                let asked = String::from_utf8_lossy(&asked[..read]).into_owned();
                client.write_all(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes()).await.unwrap();
                if line.starts_with("200") {
                    let target = asked.split_whitespace().nth(1).unwrap().to_owned();
                    let mut gateway = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut gateway).await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_through_a_proxy_is_told() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let through = async |line: &'static str| Collector {
        more: format!("  proxy_url: http://{}\n", proxy(line).await),
        ..Collector::of(&site, &gateway)
    };
    let (passed, said) = through("200 Connection established").await.check().await;
    assert!(passed, "{said}");
    assert!(steps(&said).contains(&"proxy"), "{said}");
    through("407 Proxy Authentication Required").await.fails("proxy", &["USER:PASSWORD"]).await;
    through("403 Forbidden").await.fails("proxy", &["must allow CONNECT to localhost"]).await;
}
