//! The gateway's verdicts over real sockets and certificates: every kind of bad push is answered as the protocol says,
//! changes nothing and is counted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fedgate::cli::gateway::role::Gateway;
use fedgate::push::protocol::Verdict;
use fedgate::push::transport::Transport;
use fedgate::runtime::clock;
use fedgate::snapshot::EncodedFrame;
use fedgate::snapshot::negotiate::VERSION;

use crate::roles::{Site, body, get};
use crate::store_pushes::Collector;

const TARGET: &[(&str, &str)] = &[("instance", "n1"), ("job", "test")];

/// A collector of three ticks, the first of them a KEY.
fn three_ticks(run: u8) -> Vec<Vec<EncodedFrame>> {
    let now = clock::now().as_millis();
    let mut collector = Collector::new(run, now);
    let tick = |step: i64| {
        let at = now + step;
        collector.scrape(TARGET, at, &format!("# TYPE test_value gauge\ntest_value{{n=\"1\"}} {}\n", step + 1));
        collector.tick(at)
    };
    (0..3).map(tick).collect()
}

fn bytes(frames: &[EncodedFrame]) -> Vec<u8> {
    frames.iter().map(|frame| &*frame.bytes).collect::<Vec<&[u8]>>().concat()
}

async fn push(transport: &Transport, bytes: Vec<u8>) -> Verdict {
    transport.push(body(bytes), VERSION).await.unwrap()
}

/// The gateway's count of refusals of alpha for `reason`.
async fn refused(gateway: &Gateway, reason: &str) -> u64 {
    let (_, page) = get(gateway, "/metrics/self").await;
    value_of(&page, "fedgate_push_refused_total", &["cluster=\"alpha\"", &format!("reason=\"{reason}\"")])
}

/// The value of the series that has these labels, among others; 0 where there is none.
fn value_of(page: &str, name: &str, labels: &[&str]) -> u64 {
    let is_it = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
    let value = page.lines().find(is_it).and_then(|line| line.rsplit(' ').next());
    value.map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

async fn shown(gateway: &Gateway) -> Option<String> {
    let (_, page) = get(gateway, "/federate?match[]=test_value").await;
    page.lines().find(|line| line.starts_with("test_value")).map(|line| line.split(' ').nth(1).unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_applied_in_order_and_once() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let (alpha, ticks) = (site.transport("alpha", &gateway), three_ticks(1));
    assert_eq!(push(&alpha, bytes(&ticks[0])).await, Verdict::Acked { acked: 1 });
    assert_eq!(push(&alpha, bytes(&ticks[0])).await, Verdict::Acked { acked: 1 }, "a repeated frame does nothing");
    assert_eq!(push(&alpha, bytes(&ticks[2])).await, Verdict::Gap { expected: 2 });
    assert_eq!(refused(&gateway, "gap").await, 1);
    assert_eq!(shown(&gateway).await.as_deref(), Some("1"));
    let both = [bytes(&ticks[1]), bytes(&ticks[2])].concat();
    assert_eq!(push(&alpha, both).await, Verdict::Acked { acked: 3 });
    assert_eq!(shown(&gateway).await.as_deref(), Some("3"));
    let (_, own) = get(&gateway, "/metrics/self").await;
    let alpha = &["cluster=\"alpha\""];
    assert_eq!(value_of(&own, "fedgate_push_applied_frames_total", alpha), 3, "{own}");
    assert_eq!(value_of(&own, "fedgate_push_duplicate_frames_total", alpha), 1);
    assert_eq!(value_of(&own, "fedgate_push_received_samples_total", alpha), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_does_not_know_it_asks_for() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let (alpha, ticks) = (site.transport("alpha", &gateway), three_ticks(1));
    let missing_key = Verdict::Missing { key: true, schemas: Vec::new() };
    assert_eq!(push(&alpha, bytes(&ticks[1])).await, missing_key, "a stream cannot begin in the middle");
    let state: Vec<EncodedFrame> = ticks[0].iter().filter(|frame| frame.seq != 0).cloned().collect();
    let Verdict::Missing { key: false, schemas } = push(&alpha, bytes(&state)).await else {
        panic!("a schema is missing")
    };
    assert_eq!(schemas, [state[0].schemas[0].hash().to_string()]);
    assert_eq!((refused(&gateway, "key_missing").await, refused(&gateway, "schema_missing").await), (1, 1));
    assert_eq!(shown(&gateway).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_frames_change_nothing() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let (alpha, ticks) = (site.transport("alpha", &gateway), three_ticks(1));
    let whole = bytes(&ticks[0]);
    for cut in [1, 7, whole.len() / 2, whole.len() - 1] {
        let verdict = push(&alpha, whole[..cut].to_vec()).await;
        assert!(matches!(verdict, Verdict::Damaged { .. }), "{cut} bytes: {verdict:?}");
    }
    for at in (4..whole.len()).step_by(11) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let verdict = push(&alpha, flipped).await;
        assert!(!matches!(verdict, Verdict::Acked { .. }), "byte {at}: {verdict:?}");
    }
    assert_eq!(shown(&gateway).await, None);
    assert!(refused(&gateway, "frame").await > 4);
    assert_eq!(push(&alpha, whole).await, Verdict::Acked { acked: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_bomb_is_refused_by_its_header() {
    let mut site = Site::new(&["alpha"]);
    site.config.push.limits.frame_raw_bytes_max = fedgate::config::ByteSize(16);
    let gateway = site.start().await;
    let (alpha, ticks) = (site.transport("alpha", &gateway), three_ticks(1));
    let verdict = push(&alpha, bytes(&ticks[0])).await;
    let Verdict::Damaged { reason, .. } = verdict else { panic!("{verdict:?}") };
    assert!(reason.contains("expected at most 16"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_have_a_bound_on_their_frames_and_one_stream() {
    let mut site = Site::new(&["alpha"]);
    site.config.push.limits.frames_per_body_max = 2;
    let gateway = site.start().await;
    let (alpha, ticks) = (site.transport("alpha", &gateway), three_ticks(1));
    let many = [bytes(&ticks[0]), bytes(&ticks[1]), bytes(&ticks[2])].concat();
    let verdict = push(&alpha, many).await;
    assert!(matches!(verdict, Verdict::TooLarge { .. }), "{verdict:?}");
    let two = [Bytes::copy_from_slice(&bytes(&ticks[0][..1])), three_ticks(2)[0][0].bytes.clone()].concat();
    let verdict = push(&alpha, two).await;
    assert!(matches!(&verdict, Verdict::Damaged { reason, .. } if reason.contains("stream")), "{verdict:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_over_its_rate_waits() {
    let mut site = Site::new(&["alpha", "beta"]);
    site.config.push.clusters[0].limits.samples_per_second = 0;
    let gateway = site.start().await;
    let (alpha, beta, ticks) = (site.transport("alpha", &gateway), site.transport("beta", &gateway), three_ticks(1));
    assert_eq!(push(&alpha, bytes(&ticks[0])).await, Verdict::Acked { acked: 1 }, "no frame is too large to ever pass");
    let Verdict::SlowDown { retry_after } = push(&alpha, bytes(&ticks[1])).await else { panic!("over the rate") };
    assert!(retry_after >= Duration::from_secs(1));
    assert_eq!(refused(&gateway, "rate").await, 1);
    assert_eq!(push(&beta, bytes(&ticks[0])).await, Verdict::Acked { acked: 1 }, "others go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_says_the_cluster_whatever_the_body_says() {
    let site = Site::new(&["alpha", "beta"]);
    let gateway = site.start().await;
    let now = clock::now().as_millis();
    let mut collector = Collector::new(1, now);
    collector.scrape(&[("cluster", "beta"), ("job", "test")], now, "test_value{environment=\"x\"} 1\n");
    let frames = collector.tick(now);
    assert_eq!(push(&site.transport("alpha", &gateway), bytes(&frames)).await, Verdict::Acked { acked: 1 });
    let (_, page) = get(&gateway, "/federate?match[]=test_value").await;
    let expected = "test_value{exported_cluster=\"beta\",exported_environment=\"x\",job=\"test\",cluster=\"alpha\",environment=\"test\"";
    assert!(page.contains(expected), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_collector_s_open_connection_is_refused_soon() {
    let site = Site::new(&["alpha"]);
    let gateway = site.start().await;
    let config = site.push_config("alpha", &gateway);
    let alpha = Transport::new(&config).unwrap();
    assert_eq!(push(&alpha, Vec::new()).await, Verdict::Acked { acked: 0 });
    let serial = site.ca.list().unwrap().last().unwrap().serial.clone();
    site.ca.revoke(&serial, clock::now()).unwrap();
    let began = Instant::now();
    loop {
        // On the open connection a 403; on a new one the handshake already fails.
        match alpha.push(body(Vec::new()), VERSION).await {
            Ok(Verdict::Acked { .. }) => assert!(began.elapsed() < Duration::from_secs(10), "still accepted"),
            Ok(Verdict::Forbidden { reason }) => break assert!(reason.contains("revoked"), "{reason}"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
