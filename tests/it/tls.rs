//! Who gets through a listener's TLS, and for how long: real sockets, certificates of a CA in a temporary directory.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use base64::Engine as _;
use bytes::Bytes;
use fedgate::config::PushLimits;
use fedgate::model::Timestamp;
use fedgate::net::{Connection, Refusal, RequestBody, Server, ServerCounts, ServerLimits};
use fedgate::runtime::clock;
use fedgate::tls::ca::{Authority, Issued};
use fedgate::tls::{
    ClientAuth, ClientFiles, ClientTls, HandshakeRefusal, Refresh, ServerFiles, ServerTls, TlsError, TlsVersions,
};
use http::{Request, Response};
use http_body_util::Full;
use proptest::prelude::*;
use proptest::sample::Index;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(86_400);

/// A gateway's push listener on loopback that answers every request with the name of who asks.
pub(crate) struct Gateway {
    pub(crate) dir: TempDir,
    pub(crate) ca: Authority,
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<ServerCounts>,
    pub(crate) tls: Arc<ServerTls>,
    stop: CancellationToken,
}

impl Gateway {
    pub(crate) async fn start() -> Gateway {
        Gateway::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerFiles)) -> Gateway {
        Gateway::start_changed(change, |_| {}).await
    }

    pub(crate) async fn start_within(change: impl FnOnce(&mut ServerLimits)) -> Gateway {
        Gateway::start_changed(|_| {}, change).await
    }

    async fn start_changed(
        files_change: impl FnOnce(&mut ServerFiles),
        change: impl FnOnce(&mut ServerLimits),
    ) -> Gateway {
        let dir = TempDir::new().unwrap();
        let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now()).unwrap();
        let issued = ca.issue_gateway(&["localhost".to_owned(), "127.0.0.1".to_owned()], clock::now()).unwrap();
        let mut files = server_files(&ca, &issued);
        files_change(&mut files);
        let tls = Arc::new(ServerTls::load(files, clock::now()).unwrap());
        let mut limits = ServerLimits::of_push(&PushLimits::default());
        change(&mut limits);
        let server = Server::bind("127.0.0.1:0", Some(tls.clone()), limits).await.unwrap();
        let (address, counts, stop) = (server.address(), server.counts(), CancellationToken::new());
        tokio::spawn(server.serve(tower::service_fn(who_asks), stop.clone()));
        tokio::spawn(tls.clone().watch(stop.clone()));
        Gateway { dir, ca, address, counts, tls, stop }
    }

    pub(crate) fn collector(&self, cluster: &str) -> Issued {
        self.ca.issue_collector(cluster, &[], clock::now()).unwrap()
    }

    pub(crate) fn client_files(&self, own: Option<&Issued>) -> ClientFiles {
        client_files(&self.ca.certificate_path(), own)
    }

    async fn connect(&self, own: Option<&Issued>) -> io::Result<Client> {
        Client::connect(self.address, &self.client_files(own)).await
    }

    fn refused(&self, refusal: HandshakeRefusal) -> u64 {
        self.counts.refused_for(Refusal::Tls(refusal))
    }

    /// Counting happens after the peer learns of it.
    pub(crate) async fn wait_refused(&self, refusal: Refusal) {
        wait_until(|| self.counts.refused_for(refusal) > 0).await;
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn wait_until(mut reached: impl FnMut() -> bool) {
    let start = Instant::now();
    while !reached() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited for too long");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn server_files(ca: &Authority, issued: &Issued) -> ServerFiles {
    ServerFiles {
        certificate: issued.certificate.clone(),
        key: issued.key.clone().unwrap(),
        client_ca: Some(ca.certificate_path()),
        revocation_list: Some(ca.revocation_list_path()),
        client_auth: ClientAuth::Required,
        versions: TlsVersions::V13,
    }
}

fn client_files(ca: &Path, own: Option<&Issued>) -> ClientFiles {
    ClientFiles {
        ca: Some(ca.to_owned()),
        certificate: own.map(|own| own.certificate.clone()),
        key: own.and_then(|own| own.key.clone()),
        server_name: None,
        insecure_skip_verify: false,
        versions: TlsVersions::V13,
        h2: false,
    }
}

async fn who_asks(request: Request<RequestBody>) -> Result<Response<Full<Bytes>>, Infallible> {
    let connection = request.extensions().get::<Arc<Connection>>().expect("each request says where it came from");
    let name = connection.identity.as_ref().and_then(|identity| identity.candidates().next().map(str::to_owned));
    Ok(Response::new(Full::from(name.unwrap_or_else(|| "nobody".to_owned()))))
}

/// One open HTTP/1.1 connection over TLS.
struct Client(tokio_rustls::client::TlsStream<TcpStream>);

impl Client {
    async fn connect(address: SocketAddr, files: &ClientFiles) -> io::Result<Client> {
        let tls = ClientTls::read(files).unwrap();
        let stream = TcpStream::connect(address).await?;
        Ok(Client(tls.connect("localhost", stream).await?.0))
    }

    /// The whole answer as text; an error where the connection is dead.
    async fn get(&mut self) -> io::Result<String> {
        self.0.write_all(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n").await?;
        let (mut answer, mut chunk) = (String::new(), [0; 4096]);
        loop {
            let read = self.0.read(&mut chunk).await?;
            answer.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
            if let Some((head, body)) = answer.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() == length.parse::<usize>().unwrap() {
                    return Ok(answer);
                }
            }
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// In TLS 1.3 the client is done before the server has looked at its certificate: the refusal comes with the first read.
async fn is_refused(client: io::Result<Client>) -> bool {
    match client {
        Err(_) => true,
        Ok(mut client) => client.get().await.is_err(),
    }
}

#[tokio::test]
async fn a_collector_is_known_by_its_certificate() {
    let gateway = Gateway::start().await;
    let issued = gateway.ca.issue_collector("alpha", &["collector.alpha".to_owned()], clock::now()).unwrap();
    let mut client = gateway.connect(Some(&issued)).await.unwrap();
    for _ in 0..2 {
        assert!(client.get().await.unwrap().ends_with("\r\n\r\nspiffe://hpc.example/collector/alpha"));
    }
    let tls = ClientTls::read(&gateway.client_files(Some(&issued))).unwrap();
    let identity = tls.identity().unwrap();
    assert_eq!(
        identity.candidates().collect::<Vec<_>>(),
        ["spiffe://hpc.example/collector/alpha", "collector.alpha"],
        "URIs before DNS names"
    );
    assert_eq!(identity.serial, issued.record.serial);
    assert_eq!(identity.not_after.as_millis() / 1000, issued.record.not_after.as_millis() / 1000);
}

#[tokio::test]
async fn who_shows_no_certificate_is_refused() {
    let gateway = Gateway::start().await;
    assert!(is_refused(gateway.connect(None).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::NoCertificate)).await;
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_refused() {
    let gateway = Gateway::start().await;
    let other = Authority::init(&gateway.dir.path().join("other"), "hpc.example", clock::now()).unwrap();
    let forged = other.issue_collector("alpha", &[], clock::now()).unwrap();
    assert!(is_refused(gateway.connect(Some(&forged)).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::UnknownCa)).await;
}

#[tokio::test]
async fn a_certificate_outside_its_time_is_refused() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now() - 800 * DAY).unwrap();
    let gateway = Gateway::start_with(|files| {
        files.client_ca = Some(ca.certificate_path());
        files.revocation_list = Some(ca.revocation_list_path());
    })
    .await;
    let expired = ca.issue_collector("alpha", &[], clock::now() - 400 * DAY).unwrap();
    assert!(is_refused(gateway.connect(Some(&expired)).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::Expired)).await;
    let early = ca.issue_collector("alpha", &[], clock::now() + DAY).unwrap();
    assert!(is_refused(gateway.connect(Some(&early)).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::NotYetValid)).await;
}

#[tokio::test]
async fn the_gateway_s_own_certificate_is_no_collector_s() {
    let gateway = Gateway::start().await;
    let issued = gateway.ca.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
    assert!(is_refused(gateway.connect(Some(&issued)).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::BadCertificate)).await;
}

#[tokio::test]
async fn a_revoked_collector_is_refused_at_once_and_on_its_open_connection() {
    let gateway = Gateway::start().await;
    let (alpha, beta) = (gateway.collector("alpha"), gateway.collector("beta"));
    let mut open = gateway.connect(Some(&alpha)).await.unwrap();
    let mut other = gateway.connect(Some(&beta)).await.unwrap();
    assert!(open.get().await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(other.get().await.unwrap().starts_with("HTTP/1.1 200"));

    gateway.ca.revoke(&alpha.record.serial, clock::now()).unwrap();
    let start = Instant::now();
    let refused = loop {
        let answer = open.get().await.unwrap();
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "still served");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(refused.starts_with("HTTP/1.1 403") && refused.ends_with("the certificate is revoked\n"), "{refused}");
    assert!(open.get().await.is_err(), "the connection closes after it");
    assert!(is_refused(gateway.connect(Some(&alpha)).await).await);
    wait_until(|| gateway.refused(HandshakeRefusal::Revoked) == 2).await;
    assert!(other.get().await.unwrap().starts_with("HTTP/1.1 200"), "others stay");
}

#[tokio::test]
async fn a_revoked_collector_s_open_http2_connection_is_refused() {
    let gateway = Gateway::start().await;
    let issued = gateway.collector("alpha");
    let pem = |path: &Path| std::fs::read(path).unwrap();
    let identity = [pem(&issued.certificate), pem(issued.key.as_ref().unwrap())].concat();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem(&gateway.ca.certificate_path())).unwrap()])
        .identity(reqwest::Identity::from_pem(&identity).unwrap())
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/", gateway.address.port());
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!((answer.version(), answer.status().as_u16()), (http::Version::HTTP_2, 200));
    gateway.ca.revoke(&issued.record.serial, clock::now()).unwrap();
    assert!(matches!(gateway.tls.refresh(clock::now()), Refresh::Replaced | Refresh::Unchanged));
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 403);
    assert_eq!(gateway.counts.accepted(), 1, "it was the same connection");
    wait_until(|| gateway.counts.open() == 0).await;
    assert!(client.get(&url).send().await.is_err());
}

#[tokio::test]
async fn an_open_connection_ends_with_its_certificate_and_its_ca() {
    let gateway = Gateway::start().await;
    let issued = gateway.collector("alpha");
    let tls = Arc::clone(&gateway.tls);
    let accepted = accept_one(&tls, &gateway.client_files(Some(&issued))).await;
    let peer = accepted.peer.expect("a certificate was shown");
    assert_eq!(tls.admit(&peer, clock::now()), Ok(()));
    assert_eq!(tls.admit(&peer, issued.record.not_after + Duration::from_secs(1)), Err(HandshakeRefusal::Expired));

    let other = Authority::init(&gateway.dir.path().join("other"), "hpc.example", clock::now()).unwrap();
    let server = gateway.ca.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
    let files = ServerFiles {
        client_ca: Some(other.certificate_path()),
        revocation_list: Some(other.revocation_list_path()),
        ..server_files(&gateway.ca, &server)
    };
    assert!(matches!(tls.reconfigure(files, clock::now()), Refresh::Replaced));
    assert_eq!(tls.admit(&peer, clock::now()), Err(HandshakeRefusal::UnknownCa));
}

async fn accept_one(tls: &ServerTls, files: &ClientFiles) -> fedgate::tls::Accepted {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, files) = (listener.local_addr().unwrap(), files.clone());
    let client = tokio::spawn(async move { Client::connect(address, &files).await });
    let (stream, _) = listener.accept().await.unwrap();
    let accepted = tls.accept(stream).await.unwrap();
    client.await.unwrap().unwrap();
    accepted
}

#[tokio::test]
async fn without_a_list_for_its_issuer_a_certificate_is_refused() {
    let gateway = Gateway::start().await;
    let other = Authority::init(&gateway.dir.path().join("other"), "hpc.example", clock::now()).unwrap();
    let both = gateway.dir.path().join("both.pem");
    let cas = [gateway.ca.certificate_path(), other.certificate_path()].map(|path| std::fs::read(path).unwrap());
    std::fs::write(&both, cas.concat()).unwrap();
    let server = gateway.ca.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
    let files = ServerFiles { client_ca: Some(both), ..server_files(&gateway.ca, &server) };
    assert!(matches!(gateway.tls.reconfigure(files, clock::now()), Refresh::Replaced));
    let uncovered = other.issue_collector("alpha", &[], clock::now()).unwrap();
    assert!(is_refused(gateway.connect(Some(&uncovered)).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::UnknownRevocation)).await;
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let gateway = Gateway::start().await;
    let roots = {
        let pem = std::fs::read(gateway.ca.certificate_path()).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap()).unwrap();
        roots
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let old = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    assert!(tokio_rustls::TlsConnector::from(Arc::new(old)).connect(name, stream).await.is_err());
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::TlsVersion)).await;
}

#[tokio::test]
async fn plain_http_is_told_so() {
    let gateway = Gateway::start().await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 400") && answer.contains("HTTPS only"), "{answer}");
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::Plaintext)).await;
}

/// A client that would resume finds nothing to resume with: each of its connections is a full handshake, at which the
/// revocation list counts.
#[tokio::test]
async fn resumption_does_not_pass_by_the_revocation_list() {
    let gateway = Gateway::start().await;
    let issued = gateway.collector("alpha");
    let config = resuming_client(&gateway, &issued);
    let connect = async || {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        Ok(Client(tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await?))
    };
    for _ in 0..2 {
        let mut client = connect().await.unwrap();
        assert!(client.get().await.unwrap().starts_with("HTTP/1.1 200"));
        let kind = client.0.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
    gateway.ca.revoke(&issued.record.serial, clock::now()).unwrap();
    assert!(matches!(gateway.tls.refresh(clock::now()), Refresh::Replaced | Refresh::Unchanged));
    assert!(is_refused(connect().await).await);
}

fn resuming_client(gateway: &Gateway, issued: &Issued) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    let read = |path: &Path| std::fs::read(path).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::CertificateDer::from_pem_slice(&read(&gateway.ca.certificate_path())).unwrap();
    roots.add(ca).unwrap();
    let own = rustls::pki_types::CertificateDer::from_pem_slice(&read(&issued.certificate)).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&read(issued.key.as_ref().unwrap())).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![own], key)
        .unwrap();
    Arc::new(config)
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let gateway = Gateway::start().await;
    let issued = gateway.collector("alpha");
    let shown = async || {
        let client = gateway.connect(Some(&issued)).await.unwrap();
        client.0.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = shown().await;
    let renewed = gateway.ca.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
    let place = gateway.dir.path().join("ca").join("gateway");
    std::fs::rename(renewed.key.unwrap(), place.with_extension("key")).unwrap();
    std::fs::rename(renewed.certificate, place.with_extension("pem")).unwrap();
    let start = Instant::now();
    while shown().await == before {
        assert!(start.elapsed() < Duration::from_secs(10), "still the old certificate");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Every fault of a file is told with the file, and a listener that runs goes on with what it has.
#[tokio::test]
async fn bad_files_are_named_and_not_taken() {
    let gateway = Gateway::start().await;
    let (ca, dir) = (&gateway.ca, gateway.dir.path());
    let server = ca.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
    let other = Authority::init(&dir.join("other"), "other.example", clock::now()).unwrap();
    let foreign = other.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
    let good = server_files(ca, &server);
    let file = |name: &str, text: &str| -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let cut = "-----BEGIN CERTIFICATE-----\nAAAA\n";
    let missing = dir.join("missing.pem");
    type Expected = fn(&TlsError) -> bool;
    let cases: Vec<(ServerFiles, Expected)> = vec![
        (ServerFiles { certificate: missing.clone(), ..good.clone() }, |e| matches!(e, TlsError::Read { .. })),
        (ServerFiles { certificate: file("empty.pem", ""), ..good.clone() }, |e| {
            matches!(e, TlsError::NoCertificate { .. })
        }),
        (ServerFiles { certificate: file("cut.pem", cut), ..good.clone() }, |e| matches!(e, TlsError::BadPem { .. })),
        (ServerFiles { key: foreign.key.clone().unwrap(), ..good.clone() }, |e| {
            matches!(e, TlsError::KeyMismatch { .. })
        }),
        (ServerFiles { key: server.certificate.clone(), ..good.clone() }, |e| matches!(e, TlsError::NoKey { .. })),
        (ServerFiles { client_ca: None, ..good.clone() }, |e| matches!(e, TlsError::NoClientCa)),
        (ServerFiles { revocation_list: Some(missing), ..good.clone() }, |e| matches!(e, TlsError::Read { .. })),
        (ServerFiles { revocation_list: Some(other.revocation_list_path()), ..good.clone() }, |e| {
            matches!(e, TlsError::ForeignRevocationList { .. })
        }),
        (ServerFiles { revocation_list: Some(ca.certificate_path()), ..good.clone() }, |e| {
            matches!(e, TlsError::NoRevocationList { .. })
        }),
    ];
    let failures = cases.len() as u64;
    for (files, is_expected) in cases {
        let at_start = ServerTls::load(files.clone(), clock::now()).map(drop).unwrap_err();
        assert!(is_expected(&at_start), "{at_start}");
        match gateway.tls.reconfigure(files, clock::now()) {
            Refresh::Kept(fault) => assert!(is_expected(&fault), "{fault}"),
            other => panic!("taken: {other:?}"),
        }
    }
    assert_eq!(gateway.tls.refresh_failures(), failures);
    assert!(matches!(gateway.tls.refresh(clock::now()), Refresh::Unchanged));
    let mut client = gateway.connect(Some(&gateway.collector("alpha"))).await.unwrap();
    assert!(client.get().await.is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Files come over many hands: whatever is in them, reading them ends in a value or an error.
    #[test]
    fn damaged_files_never_panic(which in 0..4usize, at in any::<Index>(), to in any::<u8>(), cut in any::<bool>()) {
        let site = damaged_site();
        let mut bytes = site.originals[which].clone();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = to }
        let damaged = site.dir.path().join("damaged.pem");
        let label = ["CERTIFICATE", "CERTIFICATE", "X509 CRL", "CERTIFICATE REQUEST"][which];
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        std::fs::write(&damaged, format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")).unwrap();
        let mut files = site.files.clone();
        match which {
            0 => files.certificate = damaged,
            1 => files.client_ca = Some(damaged),
            2 => files.revocation_list = Some(damaged),
            _ => {
                // What the signature covers: the first part inside the outer SEQUENCE, each with a header of 3 bytes.
                let covered = 3..6 + usize::from(site.originals[which][5]);
                let is_whole = bytes.get(covered.clone()) == site.originals[which].get(covered);
                let signed = site.ca.sign_collector("alpha", &[], &damaged, clock::now());
                prop_assert!(signed.is_err() || is_whole, "a damaged request was signed");
                return Ok(());
            }
        }
        let _ = ServerTls::load(files, clock::now());
    }
}

struct Damaged {
    dir: TempDir,
    ca: Authority,
    files: ServerFiles,
    /// DER of the gateway's certificate, the CA, its list and a request.
    originals: [Vec<u8>; 4],
}

fn damaged_site() -> &'static Damaged {
    static SITE: LazyLock<Damaged> = LazyLock::new(|| {
        let dir = TempDir::new().unwrap();
        let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now()).unwrap();
        let issued = ca.issue_gateway(&["localhost".to_owned()], clock::now()).unwrap();
        let files = server_files(&ca, &issued);
        let der = |path: &Path| x509_parser::pem::parse_x509_pem(&std::fs::read(path).unwrap()).unwrap().1.contents;
        let key = rcgen::KeyPair::generate().unwrap();
        let request = rcgen::CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let originals =
            [der(&files.certificate), der(&ca.certificate_path()), der(&ca.revocation_list_path()), request];
        Damaged { dir, ca, files, originals }
    });
    &SITE
}

#[test]
fn an_expired_certificate_is_taken_at_start_but_does_not_replace_a_valid_one() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now() - 800 * DAY).unwrap();
    let issue = |at: Timestamp| ca.issue_gateway(&["localhost".to_owned()], at).unwrap();
    let expired = server_files(&ca, &issue(clock::now() - 400 * DAY));
    let valid = server_files(&ca, &issue(clock::now()));
    let tls = ServerTls::load(expired.clone(), clock::now()).expect("warned of, not refused");
    assert!(tls.certificate_not_after() < clock::now());
    assert!(tls.revocation_next_update().unwrap() < clock::now(), "an old list is still enforced");
    assert!(matches!(tls.reconfigure(valid, clock::now()), Refresh::Replaced));
    assert!(matches!(tls.reconfigure(expired, clock::now()), Refresh::Kept(TlsError::Expired { .. })));
}

#[tokio::test]
async fn an_outdated_list_still_refuses_whom_it_names() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now() - 800 * DAY).unwrap();
    let issued = ca.issue_collector("alpha", &[], clock::now()).unwrap();
    ca.revoke(&issued.record.serial, clock::now() - 500 * DAY).unwrap();
    let gateway = Gateway::start_with(|files| {
        files.client_ca = Some(ca.certificate_path());
        files.revocation_list = Some(ca.revocation_list_path());
    })
    .await;
    assert!(gateway.tls.revocation_next_update().unwrap() < clock::now());
    assert!(is_refused(gateway.connect(Some(&issued)).await).await);
    gateway.wait_refused(Refusal::Tls(HandshakeRefusal::Revoked)).await;
}

#[tokio::test]
async fn a_client_trusts_only_the_ca_and_the_name_it_was_given() {
    let gateway = Gateway::start().await;
    let issued = gateway.collector("alpha");
    let other = Authority::init(&gateway.dir.path().join("other"), "hpc.example", clock::now()).unwrap();
    let wrong_ca = ClientFiles { ca: Some(other.certificate_path()), ..gateway.client_files(Some(&issued)) };
    assert!(Client::connect(gateway.address, &wrong_ca).await.is_err());
    let named = |name: &str| ClientFiles { server_name: Some(name.to_owned()), ..gateway.client_files(Some(&issued)) };
    assert!(Client::connect(gateway.address, &named("127.0.0.1")).await.is_ok());
    assert!(Client::connect(gateway.address, &named("elsewhere.example")).await.is_err());
    let anyone = ClientFiles { insecure_skip_verify: true, ca: None, ..gateway.client_files(Some(&issued)) };
    assert!(Client::connect(gateway.address, &anyone).await.is_ok());
}

#[test]
fn a_client_s_files_are_checked_as_a_pair() {
    let dir = TempDir::new().unwrap();
    let ca = Authority::init(&dir.path().join("ca"), "hpc.example", clock::now()).unwrap();
    let (one, two) = (1, 2);
    let [first, second] = [one, two].map(|_| ca.issue_collector("alpha", &[], clock::now()).unwrap());
    let files = client_files(&ca.certificate_path(), Some(&first));
    let mixed = ClientFiles { key: second.key.clone(), ..files.clone() };
    assert!(matches!(ClientTls::read(&mixed), Err(TlsError::KeyMismatch { .. })));
    let half = ClientFiles { key: None, ..files.clone() };
    assert!(matches!(ClientTls::read(&half), Err(TlsError::HalfPair { .. })));
    let tls = ClientTls::read(&files).unwrap();
    assert!(tls.is_same(&ClientTls::read(&files).unwrap()));
    assert!(!tls.is_same(&ClientTls::read(&client_files(&ca.certificate_path(), Some(&second))).unwrap()));
    assert!(tls.check_validity(clock::now()).is_ok());
    assert!(matches!(tls.check_validity(clock::now() + 400 * DAY), Err(TlsError::Expired { .. })));
    assert!(matches!(tls.check_validity(clock::now() - DAY), Err(TlsError::NotYetValid { .. })));
}
