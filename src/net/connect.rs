//! A connection made step by step, for those who want to know which step fails: name, TCP, proxy.
//!
//! The HTTP clients do the same in one call and then say "error sending request". Here each step has its own function,
//! its own bound in time and an error that tells what was tried.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use url::Url;

/// How long one step may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a proxy's answer to CONNECT.
const PROXY_ANSWER_BYTES_MAX: usize = 16 << 10;

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant's message says it")]
pub enum ConnectError {
    #[error("{host} cannot be resolved: {source}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error("no connection: {}", tried.iter().map(|(at, fault)| format!("{at}: {fault}")).collect::<Vec<_>>().join("; "))]
    Dial { tried: Vec<(SocketAddr, io::Error)> },
    #[error("no answer within {STEP_TIMEOUT:?}")]
    Timeout,
    #[error("the proxy answered {line:?} to CONNECT, expected 200")]
    ProxyRefused { line: String },
    #[error("the proxy did not answer CONNECT as a proxy does: {source}")]
    ProxyAnswer { source: io::Error },
}

/// Where a URL points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// A DNS name or an address, IPv6 without brackets.
    pub host: String,
    /// The URL's, or its scheme's.
    pub port: u16,
}

impl Endpoint {
    /// `None` where a URL has no host.
    pub fn of(url: &Url) -> Option<Endpoint> {
        let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Endpoint { host, port: url.port_or_known_default()? })
    }

    /// Every address of the host, in the order in which the system prefers them.
    pub async fn resolve(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        let lookup = tokio::net::lookup_host((self.host.as_str(), self.port));
        let found = tokio::time::timeout(STEP_TIMEOUT, lookup).await.map_err(|_| ConnectError::Timeout)?;
        let host = || self.host.clone();
        let addresses: Vec<_> = found.map_err(|source| ConnectError::Resolve { host: host(), source })?.collect();
        if addresses.is_empty() { Err(ConnectError::NoAddress { host: host() }) } else { Ok(addresses) }
    }
}

/// `HOST:PORT`, an IPv6 address in brackets.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Connects to the first address that answers.
pub async fn dial(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut tried = Vec::new();
    for address in addresses {
        let connected = tokio::time::timeout(STEP_TIMEOUT, TcpStream::connect(address)).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(stream) => return Ok(stream),
            Err(fault) => tried.push((*address, fault)),
        }
    }
    Err(ConnectError::Dial { tried })
}

/// Asks a proxy on the other end of `stream` for a tunnel to `target` (RFC 9110 §9.3.6). User and password are those of
/// the proxy's URL.
pub async fn tunnel<S>(stream: &mut S, proxy: &Url, target: &Endpoint) -> Result<(), ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n{}\r\n", authorization(proxy));
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        read_head(stream).await
    };
    let answer = tokio::time::timeout(STEP_TIMEOUT, exchange).await.map_err(|_| ConnectError::Timeout)?;
    let head = answer.map_err(|source| ConnectError::ProxyAnswer { source })?;
    let line = head.lines().next().unwrap_or_default().trim_end();
    let mut words = line.split_ascii_whitespace();
    match (words.next(), words.next()) {
        (Some(version), Some(status)) if version.starts_with("HTTP/1.") && status.starts_with('2') => Ok(()),
        _ => Err(ConnectError::ProxyRefused { line: line.to_owned() }),
    }
}

fn authorization(proxy: &Url) -> String {
    if proxy.username().is_empty() {
        return String::new();
    }
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pair = format!("{}:{}", decoded(proxy.username()), decoded(proxy.password().unwrap_or_default()));
    format!("proxy-authorization: Basic {}\r\n", STANDARD.encode(pair))
}

/// Byte by byte, since what follows the head belongs to the tunnel.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_ANSWER_BYTES_MAX {
            return Err(io::Error::other(format!("over {PROXY_ANSWER_BYTES_MAX} bytes without an end of its head")));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn endpoints_are_written_as_urls_have_them() {
        for (text, shown) in
            [("https://gw", "gw:443"), ("https://gw:9491/v1/push", "gw:9491"), ("http://[::1]:1", "[::1]:1")]
        {
            assert_eq!(Endpoint::of(&url(text)).unwrap().to_string(), shown);
        }
        assert_eq!(Endpoint::of(&url("data:text/plain,x")), None);
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_for_and_what_follows_is_left_in_the_stream() {
        let (mut near, mut far) = tokio::io::duplex(1024);
        let proxy = tokio::spawn(async move {
            let asked = read_head(&mut far).await.unwrap();
            far.write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\nhello").await.unwrap();
            asked
        });
        let target = Endpoint { host: "gw".to_owned(), port: 9491 };
        tunnel(&mut near, &url("http://us%40er:pass@proxy:3128"), &target).await.unwrap();
        let mut rest = String::new();
        let asked = proxy.await.unwrap();
        near.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "hello");
        assert!(asked.starts_with("CONNECT gw:9491 HTTP/1.1\r\nhost: gw:9491\r\n"), "{asked}");
        assert!(asked.contains("proxy-authorization: Basic dXNAZXI6cGFzcw==\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_or_is_none_is_told() {
        let target = Endpoint { host: "gw".to_owned(), port: 9491 };
        for (answer, refused) in [
            (&b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"[..], true),
            (b"SSH-2.0-OpenSSH\r\n\r\n", true),
            (b"HTTP/1.1 200", false),
            (&[b'x'; PROXY_ANSWER_BYTES_MAX + 1], false),
        ] {
            let (mut near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(answer).await.unwrap();
            far.shutdown().await.unwrap();
            let fault = tunnel(&mut near, &url("http://proxy"), &target).await.unwrap_err();
            assert_eq!(matches!(fault, ConnectError::ProxyRefused { .. }), refused, "{fault}");
            drop(far);
        }
    }
}
