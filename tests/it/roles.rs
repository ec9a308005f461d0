//! Both roles in one process: real sockets, real certificates, the parts as `fedgate gateway` puts them together.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fedgate::cli::gateway::role::Gateway;
use fedgate::cli::start::{Origin, StartError};
use fedgate::config::{ClusterConfig, GatewayConfig, PushClientConfig};
use fedgate::push::protocol::Verdict;
use fedgate::push::sender::Body;
use fedgate::push::transport::{SendError, Transport};
use fedgate::runtime::{Shutdown, clock};
use fedgate::tls::ca::{Authority, Issued};
use tempfile::TempDir;

/// A site with a CA in a temporary directory, its gateway on loopback.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) ca: Authority,
    pub(crate) config: GatewayConfig,
    pub(crate) shutdown: Shutdown,
}

impl Site {
    /// A site with these clusters, without a gateway yet.
    pub(crate) fn new(clusters: &[&str]) -> Site {
        let dir = TempDir::new().unwrap();
        let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now()).unwrap();
        let issued = ca.issue_gateway(&["localhost".to_owned(), "127.0.0.1".to_owned()], clock::now()).unwrap();
        let mut config = GatewayConfig::default();
        config.http.listen = "127.0.0.1:0".to_owned();
        config.push.listen = "127.0.0.1:0".to_owned();
        config.push.tls_config.cert_file = issued.certificate;
        config.push.tls_config.key_file = issued.key.unwrap();
        config.push.tls_config.client_ca_file = ca.certificate_path();
        config.push.tls_config.crl_file = Some(ca.revocation_list_path());
        config.push.clusters = clusters.iter().map(|cluster| cluster_config(cluster)).collect();
        Site { dir, ca, config, shutdown: Shutdown::new() }
    }

    pub(crate) async fn start(&self) -> Gateway {
        self.try_start(None).await.unwrap()
    }

    pub(crate) async fn try_start(&self, origin: Option<Origin>) -> Result<Gateway, StartError> {
        Gateway::start(Arc::new(self.config.clone()), origin, &self.shutdown).await
    }

    pub(crate) fn collector(&self, cluster: &str) -> Issued {
        self.ca.issue_collector(cluster, &[], clock::now()).unwrap()
    }

    /// How a collector of `cluster` is told to push to `gateway`.
    pub(crate) fn push_config(&self, cluster: &str, gateway: &Gateway) -> PushClientConfig {
        let issued = self.collector(cluster);
        let mut config = PushClientConfig { url: format!("https://{}", gateway.push).into(), ..Default::default() };
        config.tls_config.ca_file = Some(self.ca.certificate_path());
        config.tls_config.cert_file = Some(issued.certificate);
        config.tls_config.key_file = issued.key;
        config
    }

    pub(crate) fn transport(&self, cluster: &str, gateway: &Gateway) -> Transport {
        Transport::new(&self.push_config(cluster, gateway)).unwrap()
    }
}

pub(crate) fn cluster_config(cluster: &str) -> ClusterConfig {
    ClusterConfig {
        cluster: cluster.to_owned(),
        environment: "test".to_owned(),
        identities: vec![format!("spiffe://hpc.example/collector/{cluster}")],
        expect_every: Duration::from_secs(1),
        ..ClusterConfig::default()
    }
}

pub(crate) fn body(bytes: Vec<u8>) -> Body {
    Body { bytes: bytes.len(), pieces: vec![bytes.into()] }
}

/// Status and body of a GET.
pub(crate) async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("http://{}{path}", gateway.readers)).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_collector_is_told_who_it_is() {
    let site = Site::new(&["alpha", "beta"]);
    let gateway = site.start().await;
    let answer = site.transport("beta", &gateway).identity().await.unwrap();
    assert_eq!((answer.cluster.as_str(), answer.environment.as_str()), ("beta", "test"));
    assert_eq!(answer.collector, "spiffe://hpc.example/collector/beta");
    assert_eq!(answer.labels["cluster"], "beta");
    assert_eq!(answer.versions, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_in_the_inventory_is_refused_and_counted() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let stranger = site.transport("gamma", &gateway);
    let verdict = stranger.push(body(Vec::new()), 1).await.unwrap();
    let Verdict::Forbidden { reason } = verdict else { panic!("{verdict:?}") };
    assert!(reason.contains("spiffe://hpc.example/collector/gamma"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_frame_are_refused() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let transport = site.transport("alpha", &gateway);
    let verdict = transport.push(body(vec![0xff; 100]), 1).await.unwrap();
    assert!(matches!(verdict, Verdict::TooLarge { .. } | Verdict::Damaged { .. }), "{verdict:?}");
    let verdict = transport.push(body(Vec::new()), 1).await.unwrap();
    assert_eq!(verdict, Verdict::Acked { acked: 0 });
    let verdict = transport.push(body(Vec::new()), 99).await.unwrap();
    assert_eq!(verdict, Verdict::Unsupported { versions: vec![1] });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_not_read() {
    let mut site = Site::new(&["alpha"]);
    site.config.push.limits.body_bytes_max = fedgate::config::ByteSize(100 << 10);
    let gateway = site.start().await;
    let verdict = site.transport("alpha", &gateway).push(body(vec![0; 200 << 10]), 1).await;
    // The gateway may close the connection before the body is written, which the client sees as an interruption.
    let told = matches!(verdict, Ok(Verdict::TooLarge { limit_bytes: 102_400 }) | Err(SendError::Request(_)));
    assert!(told, "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_a_clear_fault_at_the_start() {
    let mut site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    site.config.http.listen = gateway.readers.to_string();
    let fault = site.try_start(None).await.err().expect("the port is taken").to_string();
    assert!(fault.contains(&gateway.readers.to_string()) && fault.contains("in use"), "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_once_every_cluster_had_its_time() {
    let mut site = Site::new(&["alpha", "beta"]);
    site.config.push.clusters[0].expect_every = Duration::from_millis(300);
    site.config.push.clusters[1].expect_every = Duration::from_millis(300);
    let gateway = site.start().await;
    let (status, text) = get(&gateway, "/-/ready").await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("alpha, beta"), "{text}");
    assert_eq!(get(&gateway, "/-/healthy").await.0, 200);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(get(&gateway, "/-/ready").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_asked_for_their_password() {
    let mut site = Site::new(&["alpha"]);
    let hash = bcrypt::hash("secret", 4).unwrap();
    site.config.http.basic_auth_users.insert("prometheus".to_owned(), fedgate::config::Secret::new(hash));
    let token = site.dir.path().join("token");
    std::fs::write(&token, "abc123\n").unwrap();
    site.config.http.bearer_token_files.push(token);
    let gateway = site.start().await;
    assert_eq!(get(&gateway, "/federate").await.0, 401);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("http://{}/federate", gateway.readers);
    let status = async |request: reqwest::RequestBuilder| request.send().await.unwrap().status().as_u16();
    assert_eq!(status(client.get(&url).basic_auth("prometheus", Some("secret"))).await, 200);
    assert_eq!(status(client.get(&url).basic_auth("prometheus", Some("secret"))).await, 200, "from memory");
    assert_eq!(status(client.get(&url).basic_auth("prometheus", Some("wrong"))).await, 401);
    assert_eq!(status(client.get(&url).basic_auth("somebody", Some("secret"))).await, 401);
    assert_eq!(status(client.get(&url).bearer_auth("abc123")).await, 200);
    assert_eq!(status(client.get(&url).bearer_auth("abc")).await, 401);
}

/// Writes a gateway's file for `site` with these clusters.
fn write_config(site: &Site, clusters: &[&str]) -> std::path::PathBuf {
    let path = |path: &Path| path.display().to_string();
    let tls = &site.config.push.tls_config;
    let mut text = format!(
        "push:\n  listen: localhost:0\n  tls_config:\n    cert_file: {}\n    key_file: {}\n    client_ca_file: {}\n  \
         clusters:\n",
        path(&tls.cert_file),
        path(&tls.key_file),
        path(&tls.client_ca_file)
    );
    for cluster in clusters {
        let identity = format!("spiffe://hpc.example/collector/{cluster}");
        text.push_str(&format!(
            "    - cluster: {cluster}\n      environment: test\n      identities: [\"{identity}\"]\n"
        ));
    }
    text.push_str("http:\n  listen: 127.0.0.1:0\n");
    let file = site.dir.path().join("gateway.yml");
    std::fs::write(&file, text).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_the_inventory_and_keeps_the_old_on_a_fault() {
    let site = Site::new(&["alpha"]);
    let file = write_config(&site, &["alpha", "beta"]);
    let gateway = site.try_start(Some(Origin { file: file.clone(), enable_reload: true })).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let reload = async || {
        let answer = client.post(format!("http://{}/-/reload", gateway.readers)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let beta = site.transport("beta", &gateway);
    assert_eq!(beta.push(body(Vec::new()), 1).await.unwrap().status(), 403);
    assert_eq!(reload().await, (200, String::new()));
    assert_eq!(beta.push(body(Vec::new()), 1).await.unwrap().status(), 200);
    std::fs::write(&file, "push:\n  listne: nowhere\n").unwrap();
    let (status, faults) = reload().await;
    assert_eq!(status, 500);
    assert!(faults.contains("listne") && faults.contains("listen"), "{faults}");
    assert_eq!(beta.push(body(Vec::new()), 1).await.unwrap().status(), 200, "the old inventory stays in force");
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_by_http_needs_its_flag() {
    let site = Site::new(&["alpha"]);
    let file = write_config(&site, &["alpha"]);
    let gateway = site.try_start(Some(Origin { file, enable_reload: false })).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(format!("http://{}/-/reload", gateway.readers)).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
}
