//! The steps between a collector's configuration and a gateway that takes its frames.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::either::Either;
use url::Url;

use super::{Failed, Told};
use crate::config::PushClientConfig;
use crate::model::{Timestamp, format_duration};
use crate::net::connect::{ConnectError, Endpoint, dial, tunnel};
use crate::push::protocol::{IdentityAnswer, Verdict};
use crate::push::sender::Body;
use crate::push::transport::{SendError, Transport};
use crate::runtime::clock;
use crate::snapshot::negotiate::newest_common;
use crate::tls::{ClientFiles, ClientTls, HandshakeRefusal, Identity};

/// A certificate that ends sooner is warned of.
const RENEWAL: Duration = Duration::from_secs(30 * 86_400);
/// How long a gateway that refuses our certificate may take to say so; one that is slower fails the next step.
const ALERT_TIMEOUT: Duration = Duration::from_millis(500);
/// From here on a clock's deviation is worth a word: samples are that far off in every graph.
const SKEW_NOTED: Duration = Duration::from_secs(2);
/// Samples so far ahead are refused by a gateway with default limits.
const SKEW_REFUSED: Duration = Duration::from_secs(600);

type Say<'a> = &'a mut dyn FnMut(Told);

/// Goes all steps, or to the first that fails.
pub(super) async fn walk(config: &PushClientConfig, say: Say<'_>) -> Result<(), Failed> {
    let tls = own_certificate(config, say)?;
    let url = Url::parse(&config.url).ok();
    let gateway = url.as_ref().and_then(Endpoint::of);
    let gateway =
        gateway.ok_or_else(|| failed("name", config.url.to_string(), "push.url must be https://HOST:9491"))?;
    let stream = reach(config, &gateway, &tls, say).await?;
    handshake(&tls, &gateway, stream, say).await?;
    let answer = ask_identity(config, say).await?;
    try_frames(config, &answer, say).await
}

fn failed(step: &'static str, found: impl ToString, fix: impl Into<String>) -> Failed {
    Failed { step, found: found.to_string(), fix: fix.into() }
}

/// Our own files, names and dates.
fn own_certificate(config: &PushClientConfig, say: Say<'_>) -> Result<ClientTls, Failed> {
    const STEP: &str = "own certificate";
    let tls = ClientTls::read(&ClientFiles::of_push(&config.tls_config)).map_err(|fault| {
        failed(STEP, fault, "push.tls_config must name ca_file, cert_file and key_file of this collector")
    })?;
    let renew = "issue a new one at the CA (`fedgate certs issue`), or set the clock if that is what is wrong";
    tls.check_validity(clock::now()).map_err(|fault| failed(STEP, fault, renew))?;
    let own: Option<&Arc<Identity>> = tls.identity();
    let own = own.ok_or_else(|| failed(STEP, "none is configured", "push.tls_config needs cert_file and key_file"))?;
    say(Told { advice: renewal(own), ..Told::fine(STEP, described(own)) });
    Ok(tls)
}

/// Names and end of a certificate.
fn described(certificate: &Identity) -> String {
    let names: Vec<&str> = certificate.candidates().collect();
    let names = if names.is_empty() { "no names".to_owned() } else { names.join(", ") };
    format!("{names}; serial {}; ends in {}", certificate.serial, days(time_left(certificate)))
}

fn time_left(certificate: &Identity) -> Duration {
    certificate.not_after.since(clock::now())
}

fn days(time: Duration) -> String {
    format!("{} days", time.as_secs() / 86_400)
}

fn renewal(certificate: &Identity) -> Option<String> {
    let soon = time_left(certificate) < RENEWAL;
    soon.then(|| "issue its successor soon; it is taken without a restart once it lies in its place".to_owned())
}

/// A stream to the gateway, straight or through the proxy.
type Stream = Either<TcpStream, tokio_rustls::client::TlsStream<TcpStream>>;

async fn reach(config: &PushClientConfig, gateway: &Endpoint, tls: &ClientTls, say: Say<'_>) -> Result<Stream, Failed> {
    let Some(proxy) = &config.proxy_url else {
        return Ok(Either::Left(open("gateway", gateway, say).await?));
    };
    let url = Url::parse(proxy).ok();
    let place = url.as_ref().and_then(Endpoint::of);
    let (Some(url), Some(place)) = (url, place) else {
        return Err(failed("proxy", proxy, "push.proxy_url must be http://HOST:PORT"));
    };
    let stream = open("proxy", &place, say).await?;
    let mut stream = match url.scheme() {
        "https" => Either::Right(tls.connect(&place.host, stream).await.map_err(|fault| untrusted("proxy", &fault))?.0),
        _ => Either::Left(stream),
    };
    tunnel(&mut stream, &url, gateway).await.map_err(|fault| no_tunnel(gateway, fault))?;
    say(Told::fine("proxy", format!("{place} tunnels to {gateway}")));
    Ok(stream)
}

fn no_tunnel(gateway: &Endpoint, fault: ConnectError) -> Failed {
    let fix = match &fault {
        ConnectError::ProxyRefused { line } if line.contains(" 407") => {
            "the proxy asks for a password: push.proxy_url can be http://USER:PASSWORD@HOST:PORT".to_owned()
        }
        ConnectError::ProxyRefused { .. } => format!("the proxy must allow CONNECT to {gateway}"),
        _ => "push.proxy_url must be an HTTP proxy".to_owned(),
    };
    failed("proxy", fault, fix)
}

/// Name and TCP of `role`, the gateway or the proxy.
async fn open(role: &str, place: &Endpoint, say: Say<'_>) -> Result<TcpStream, Failed> {
    let fix =
        format!("the {role}'s name must be known on this machine: check push.url, push.proxy_url and its resolver");
    let addresses = place.resolve().await.map_err(|fault| failed("name", fault, fix))?;
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    say(Told::fine("name", format!("{} is {}", place.host, shown.join(", "))));
    let fix = format!("{place} must be reachable from here: is the {role} running, is a firewall between?");
    let began = clock::monotonic();
    let stream = dial(&addresses).await.map_err(|fault| failed("connection", fault, fix))?;
    let address = stream.peer_addr().map_or_else(|_| place.to_string(), |address| address.to_string());
    say(Told::fine("connection", format!("{address} in {:.1} ms", began.elapsed().as_secs_f64() * 1e3)));
    Ok(stream)
}

/// Whom we trust, and whether the other end trusts us.
async fn handshake<S>(tls: &ClientTls, gateway: &Endpoint, stream: S, say: Say<'_>) -> Result<(), Failed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut stream, server) = tls.connect(&gateway.host, stream).await.map_err(|fault| untrusted("TLS", &fault))?;
    let advice = renewal(&server).map(|_| "the gateway's certificate is due for renewal".to_owned());
    say(Told { advice, ..Told::fine("TLS", format!("1.3; the gateway is {}", described(&server))) });
    // A gateway that takes our certificate waits for a request; one that does not says so at once.
    match tokio::time::timeout(ALERT_TIMEOUT, stream.read_u8()).await {
        Err(_) | Ok(Ok(_)) => say(Told::fine("acceptance", "the gateway takes our certificate")),
        Ok(Err(fault)) => return Err(not_accepted(&fault)),
    }
    Ok(())
}

/// Our side refused the server's certificate, or there was no TLS.
fn untrusted(step: &'static str, fault: &io::Error) -> Failed {
    let fix = match HandshakeRefusal::of_causes(fault) {
        Some(HandshakeRefusal::UnknownCa) => {
            "ca_file must be the CA that issued the gateway's certificate (ca.pem of its directory)"
        }
        Some(HandshakeRefusal::WrongName) => {
            "dial a name that is in the certificate, set tls_config.server_name to one, or issue one for this name: \
             `fedgate certs gateway DIR --host NAME`"
        }
        Some(HandshakeRefusal::Expired) => {
            "the gateway needs a new certificate: `fedgate certs gateway DIR --host NAME`"
        }
        Some(HandshakeRefusal::NotYetValid) => "this machine's clock is probably behind: set it",
        Some(HandshakeRefusal::TlsVersion) => {
            "the other end does not speak TLS 1.3: is this the gateway's push listener?"
        }
        Some(HandshakeRefusal::BadCertificate) => "the other end must show a server certificate: is this the gateway?",
        _ => "is this the gateway's push listener (:9491)? Whatever stands between must pass TLS through unopened",
    };
    failed(step, fault, fix)
}

/// The gateway closed after our certificate.
fn not_accepted(fault: &io::Error) -> Failed {
    let fix = match HandshakeRefusal::told_by_peer(fault) {
        Some(HandshakeRefusal::Revoked) => "our certificate is on the gateway's revocation list: issue a new one",
        Some(HandshakeRefusal::Expired) => {
            "for the gateway's clock our certificate has expired or is not valid yet: compare the clocks"
        }
        Some(HandshakeRefusal::UnknownCa) => {
            "the gateway's client_ca_file must hold the CA of our certificate, and its crl_file a list of that CA"
        }
        Some(HandshakeRefusal::NoCertificate) => "push.tls_config needs cert_file and key_file",
        Some(HandshakeRefusal::BadCertificate) => {
            "our certificate must be one for clients: `fedgate certs issue DIR --cluster NAME`"
        }
        _ => "the gateway closed the connection: its log and fedgate_push_refused_total say why",
    };
    failed("acceptance", fault, fix)
}

/// Who the gateway takes us for, and what its clock says.
async fn ask_identity(config: &PushClientConfig, say: Say<'_>) -> Result<IdentityAnswer, Failed> {
    const STEP: &str = "identity";
    let transport = transport(config, STEP)?;
    let asked = clock::now();
    let answer = transport.identity().await.map_err(|fault| unknown(&fault))?;
    let halfway = Timestamp(asked.as_millis().midpoint(clock::now().as_millis()));
    let labels: Vec<String> = answer.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    say(Told::fine(STEP, format!("{} as {}", labels.join(", "), answer.collector)));
    say_clock(Timestamp(answer.gateway_ms), halfway, say)?;
    Ok(answer)
}

fn transport(config: &PushClientConfig, step: &'static str) -> Result<Transport, Failed> {
    Transport::new(config).map_err(|fault| failed(step, fault, "the section `push` must be right as a whole"))
}

fn unknown(fault: &SendError) -> Failed {
    let fix = match fault {
        SendError::Unknown { status: 401 | 403, .. } => {
            "the gateway's inventory (push.clusters) must list one of our certificate's names under identities"
        }
        SendError::Answer(_) | SendError::Unknown { .. } => "push.url must lead to a gateway's push listener",
        _ => "the connection stood a moment ago: try again, and look at the gateway's log",
    };
    failed("identity", fault, fix)
}

fn say_clock(gateway: Timestamp, own: Timestamp, say: Say<'_>) -> Result<(), Failed> {
    const STEP: &str = "clock";
    let (off, side) = if own > gateway { (own.since(gateway), "ahead of") } else { (gateway.since(own), "behind") };
    let found = format!("{} {side} the gateway's", format_duration(off));
    if side == "ahead of" && off >= SKEW_REFUSED {
        return Err(failed(STEP, found, "set the clock (NTP): a gateway refuses samples that far in its future"));
    }
    let advice = (off >= SKEW_NOTED).then(|| "set both clocks by NTP: samples carry this machine's time".to_owned());
    say(Told { advice, ..Told::fine(STEP, found) });
    Ok(())
}

/// The push itself: a body of no frames goes the whole way (route, content type, rate, verdict) and changes nothing.
async fn try_frames(config: &PushClientConfig, answer: &IdentityAnswer, say: Say<'_>) -> Result<(), Failed> {
    const STEP: &str = "frames";
    let version = newest_common(&answer.versions).ok_or_else(|| {
        let found = format!("the gateway speaks frames of versions {:?}, this program none of them", answer.versions);
        failed(STEP, found, "gateways are upgraded first: upgrade the gateway")
    })?;
    let verdict = transport(config, STEP)?.push(Body::default(), version).await;
    match verdict {
        Ok(Verdict::Acked { .. }) => {
            say(Told::fine(STEP, format!("version {version}, pushes are taken")));
            Ok(())
        }
        Ok(Verdict::SlowDown { .. } | Verdict::Busy { .. }) => {
            let advice = "the collector waits and sends again; raise the cluster's limits if this stays".to_owned();
            say(Told { advice: Some(advice), ..Told::fine(STEP, "the gateway asks to wait") });
            Ok(())
        }
        Ok(other) => Err(failed(STEP, other.body(), "push.url must lead to the push path of a gateway")),
        Err(fault) => Err(failed(STEP, fault, "push.url must lead to the push path of a gateway")),
    }
}
