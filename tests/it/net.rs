//! The bounds of a listener, each seen from the peer that would break it: open sockets, times cut to milliseconds.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fedgate::net::{BindError, BodyTimeout, Connection, Refusal, RequestBody, Server, ServerCounts, ServerLimits};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::tls::{Gateway, wait_until};

const SHORT: Duration = Duration::from_millis(100);
const LONG: Duration = Duration::from_secs(30);

fn limits() -> ServerLimits {
    ServerLimits { drain: LONG, ..ServerLimits::default() }
}

struct Listener {
    address: SocketAddr,
    counts: Arc<ServerCounts>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl Listener {
    async fn start(limits: ServerLimits) -> Listener {
        let server = Server::bind("127.0.0.1:0", None, limits).await.unwrap();
        let (address, counts, stop) = (server.address(), server.counts(), CancellationToken::new());
        let served = tokio::spawn(server.serve(tower::service_fn(answer), stop.clone()));
        Listener { address, counts, stop, served }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn wait_refused(&self, refusal: Refusal) {
        wait_until(|| self.counts.refused_for(refusal) > 0).await;
    }

    fn refused(&self) -> u64 {
        self.counts.refused().map(|(_, count)| count).sum()
    }
}

/// Routes for the tests: the path says what happens.
async fn answer(request: Request<RequestBody>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let text = |text: String| Response::new(Full::new(Bytes::from(text)).boxed());
    Ok(match request.uri().path() {
        "/slow" => {
            tokio::time::sleep(3 * SHORT).await;
            text("slow\n".to_owned())
        }
        "/endless" => {
            let block = || Ok(Frame::data(Bytes::from(vec![b'x'; 1 << 20])));
            Response::new(BodyExt::boxed(StreamBody::new(futures_util::stream::repeat_with(block))))
        }
        "/panic" => panic!("a fault of ours"),
        "/body" => match request.into_body().collect().await {
            Ok(body) => text(format!("{} bytes\n", body.to_bytes().len())),
            Err(fault) if fault.is::<BodyTimeout>() => {
                let mut answer = text(fault.to_string());
                *answer.status_mut() = StatusCode::REQUEST_TIMEOUT;
                answer
            }
            Err(fault) => panic!("{fault}"),
        },
        _ => {
            let connection = request.extensions().get::<Arc<Connection>>().unwrap();
            assert!(connection.identity.is_none());
            text(format!("{}\n", connection.address))
        }
    })
}

async fn ask(stream: &mut TcpStream, path: &str) -> String {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut chunk = [0; 4096];
    while !answer.ends_with('\n') || !answer.contains("\r\n\r\n") {
        let read = stream.read(&mut chunk).await.unwrap();
        assert!(read > 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
    }
    answer
}

/// Whether the server closes the connection; what it still sends is read away.
async fn closes(stream: &mut TcpStream) {
    let mut chunk = [0; 4096];
    let closed = async { while stream.read(&mut chunk).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(10), closed).await.expect("the server closes");
}

#[tokio::test]
async fn a_request_says_where_it_came_from() {
    let listener = Listener::start(limits()).await;
    let mut stream = listener.connect().await;
    let own = stream.local_addr().unwrap();
    assert!(ask(&mut stream, "/").await.ends_with(&format!("{own}\n")));
    assert_eq!((listener.counts.accepted(), listener.counts.open()), (1, 1));
    drop(stream);
    wait_until(|| listener.counts.open() == 0).await;
}

#[tokio::test]
async fn a_header_that_trickles_in_is_cut() {
    let listener = Listener::start(ServerLimits { header: SHORT, ..limits() }).await;
    for first_request in [true, false] {
        let before = listener.counts.refused_for(Refusal::HeaderTimeout);
        let mut stream = listener.connect().await;
        if !first_request {
            ask(&mut stream, "/").await;
        }
        let (mut reader, mut writer) = stream.into_split();
        let trickle = tokio::spawn(async move {
            for byte in b"GET / HTTP/1.1\r\nhost: x\r\nx-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa".iter().cycle() {
                if writer.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(SHORT / 10).await;
            }
        });
        let start = Instant::now();
        let _ = reader.read_to_end(&mut Vec::new()).await;
        trickle.abort();
        assert!(start.elapsed() < Duration::from_secs(5), "cut after {:?}", start.elapsed());
        assert_eq!(listener.counts.refused_for(Refusal::HeaderTimeout), before + 1, "first: {first_request}");
    }
}

#[tokio::test]
async fn who_connects_and_says_nothing_is_cut() {
    let listener = Listener::start(ServerLimits { header: SHORT, ..limits() }).await;
    closes(&mut listener.connect().await).await;
    listener.wait_refused(Refusal::HeaderTimeout).await;
}

#[tokio::test]
async fn an_idle_connection_outlives_the_header_s_time_but_not_its_own() {
    let listener = Listener::start(ServerLimits { header: SHORT, idle: 5 * SHORT, ..limits() }).await;
    let mut stream = listener.connect().await;
    ask(&mut stream, "/").await;
    tokio::time::sleep(2 * SHORT).await;
    ask(&mut stream, "/").await;
    closes(&mut stream).await;
    assert_eq!(listener.refused(), 0, "an idle peer did nothing wrong");
}

#[tokio::test]
async fn a_stalled_handshake_is_cut() {
    let gateway = Gateway::start_within(|limits| limits.handshake = SHORT).await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    closes(&mut silent).await;
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0]).await.unwrap();
    closes(&mut half).await;
    wait_until(|| gateway.counts.refused_for(Refusal::HandshakeTimeout) == 2).await;
}

#[tokio::test]
async fn connections_are_bounded_over_all_and_by_address() {
    let cases = [
        (ServerLimits { connections: 2, ..limits() }, Refusal::Connections),
        (ServerLimits { connections_per_address: 2, ..limits() }, Refusal::ConnectionsOfAddress),
    ];
    for (limits, refusal) in cases {
        let listener = Listener::start(limits).await;
        let (mut one, mut two) = (listener.connect().await, listener.connect().await);
        ask(&mut one, "/").await;
        ask(&mut two, "/").await;
        closes(&mut listener.connect().await).await;
        assert_eq!(listener.counts.refused_for(refusal), 1);
        drop(one);
        wait_until(|| listener.counts.open() == 1).await;
        ask(&mut listener.connect().await, "/").await;
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let listener = Listener::start(ServerLimits { body: SHORT, ..limits() }).await;
    let mut stream = listener.connect().await;
    stream.write_all(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert_eq!(listener.counts.refused_for(Refusal::BodyTimeout), 1);
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut() {
    let listener = Listener::start(ServerLimits { stalled_write: SHORT, ..limits() }).await;
    let mut stream = listener.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    listener.wait_refused(Refusal::WriteTimeout).await;
    wait_until(|| listener.counts.open() == 0).await;
}

#[tokio::test]
async fn a_long_request_is_not_idle() {
    let listener = Listener::start(ServerLimits { header: SHORT, idle: SHORT, ..limits() }).await;
    assert!(ask(&mut listener.connect().await, "/slow").await.ends_with("slow\n"));
}

#[tokio::test]
async fn a_fault_of_ours_ends_one_connection() {
    let listener = Listener::start(limits()).await;
    let mut other = listener.connect().await;
    ask(&mut other, "/").await;
    let mut stream = listener.connect().await;
    stream.write_all(b"GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    closes(&mut stream).await;
    listener.wait_refused(Refusal::Panic).await;
    ask(&mut other, "/").await;
}

#[tokio::test]
async fn what_is_no_http_is_counted() {
    let listener = Listener::start(limits()).await;
    let mut stream = listener.connect().await;
    stream.write_all(b"\x00\x01 nonsense\r\n\r\n").await.unwrap();
    closes(&mut stream).await;
    listener.wait_refused(Refusal::Protocol).await;
}

#[tokio::test]
async fn http2_is_served_beside_http1() {
    let listener = Listener::start(limits()).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/body", listener.address);
    let answer = client.post(&url).body(vec![0; 3 << 20]).send().await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), format!("{} bytes\n", 3 << 20));
    let long = "x".repeat(100 << 10);
    let refused = client.get(&url).header("x-long", long).send().await;
    assert!(refused.map_or(true, |answer| answer.status() == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn h2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Opens a stream for `GET /slow` (END_STREAM, END_HEADERS) and resets it at once.
fn h2_open_and_reset(stream: u32) -> Vec<u8> {
    let header = h2_frame(1, 5, stream, b"\x82\x86\x04\x05/slow\x41\x01x");
    [header, h2_frame(3, 0, stream, &8u32.to_be_bytes())].concat()
}

#[tokio::test]
async fn rapid_resets_end_an_http2_connection() {
    let listener = Listener::start(limits()).await;
    let mut stream = listener.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&h2_frame(4, 0, 0, &[])).await.unwrap();
    let flood: Vec<u8> = (0..500).flat_map(|number| h2_open_and_reset(2 * number + 1)).collect();
    let _ = stream.write_all(&flood).await;
    closes(&mut stream).await;
    listener.wait_refused(Refusal::Protocol).await;
}

#[tokio::test]
async fn a_stopped_listener_finishes_what_is_under_way() {
    let listener = Listener::start(limits()).await;
    let mut idle = listener.connect().await;
    ask(&mut idle, "/").await;
    let mut busy = listener.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(SHORT / 2).await;
    listener.stop.cancel();
    closes(&mut idle).await;
    assert!(TcpStream::connect(listener.address).await.is_err(), "nothing new comes in");
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("slow\n"), "{answer}");
    let start = Instant::now();
    listener.served.await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "the loop ends with its last connection");
}

#[tokio::test]
async fn what_is_not_done_at_the_end_of_the_drain_is_cut() {
    let listener = Listener::start(ServerLimits { drain: SHORT, ..limits() }).await;
    let mut endless = listener.connect().await;
    endless.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    endless.read_exact(&mut [0; 1024]).await.unwrap();
    listener.stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), listener.served).await.unwrap().unwrap();
    assert_eq!(listener.counts.open(), 0);
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let listener = Listener::start(limits()).await;
    let Err(BindError { listen, .. }) = Server::bind(&listener.address.to_string(), None, limits()).await else {
        panic!("bound twice");
    };
    assert_eq!(listen, listener.address.to_string());
    assert!(Server::bind(":0", None, limits()).await.unwrap().address().ip().is_unspecified());
    assert!(Server::bind("nonsense", None, limits()).await.is_err());
}
