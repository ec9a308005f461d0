//! The store's contract: admission, ownership, silence, reload, and what readers see meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use fedgate::model::{
    Counts, HISTOGRAM_NAN, HistogramCounts, HistogramSample, Labels, NativeHistogram, ResetHint, Timestamp,
};
use fedgate::snapshot::{ApplyError, Beside, Outcome};
use fedgate::store::{ClusterLimits, ClusterPolicy, DropReason, Inventory, LabelConflict, Refusal};

use crate::store_pushes::{Collector, Gateway, LACKING, START, policy};

const NODE: [(&str, &str); 2] = [("instance", "n1"), ("job", "node")];

/// The label sets of `m` as written, without the cluster's own and the timestamp.
async fn shown(gateway: &Gateway) -> Vec<String> {
    let lines = gateway.lines(&["m"]).await;
    lines
        .iter()
        .map(|line| line.replace(r#",cluster="alpha",environment="test""#, "").replace(&format!(" {START}"), ""))
        .collect()
}

fn gateway_under(policy: ClusterPolicy, target: &[(&str, &str)], page: &str) -> (Gateway, Vec<(DropReason, u64)>) {
    let gateway = Gateway::new([policy]);
    let mut collector = Collector::new(1, START);
    collector.scrape(target, START, page);
    let dropped = gateway.take("alpha", &mut collector).dropped;
    (gateway, dropped.iter().collect())
}

fn conflict(on_label_conflict: LabelConflict) -> ClusterPolicy {
    let labels = Labels::from_pairs([("cluster", "alpha"), ("environment", "test"), ("site", "north")]);
    ClusterPolicy { on_label_conflict, labels, ..policy("alpha") }
}

#[tokio::test]
async fn an_equal_label_is_no_conflict() {
    let (gateway, dropped) = gateway_under(policy("alpha"), &NODE, "m{cluster=\"alpha\"} 1\n");
    assert_eq!(shown(&gateway).await, [r#"m{instance="n1",job="node"} 1"#]);
    let target = [("cluster", "alpha"), ("instance", "n1")];
    let (gateway, _) = gateway_under(policy("alpha"), &target, "m{environment=\"test\"} 1\n");
    assert_eq!(shown(&gateway).await, [r#"m{instance="n1"} 1"#]);
    assert!(dropped.is_empty());
}

#[tokio::test]
async fn a_conflict_is_renamed_until_the_name_is_free() {
    let page = "m{cluster=\"x\"} 1\nm{cluster=\"y\",exported_cluster=\"z\"} 2\nm{exported_cluster=\"w\"} 3\n";
    let (gateway, dropped) = gateway_under(policy("alpha"), &[("instance", "n1")], page);
    assert_eq!(
        shown(&gateway).await,
        [
            r#"m{exported_cluster="x",instance="n1"} 1"#,
            r#"m{exported_cluster="z",exported_exported_cluster="y",instance="n1"} 2"#,
            r#"m{exported_cluster="w",instance="n1"} 3"#,
        ]
    );
    assert!(dropped.is_empty());
}

#[tokio::test]
async fn a_targets_own_conflict_is_renamed_for_all_its_series() {
    let page = format!(
        "m{{a=\"1\"}} 1\nm{{cluster=\"alpha\"}} 2\nm{{cluster=\"{LACKING}\",a=\"3\"}} 3\nm{{exported_cluster=\"e\"}} 4\n"
    );
    let (gateway, _) = gateway_under(policy("alpha"), &[("cluster", "beta")], &page);
    assert_eq!(
        shown(&gateway).await,
        [
            r#"m{a="1",exported_cluster="beta"} 1"#,
            r#"m{cluster="alpha",environment="test",instance=""} 2"#,
            r#"m{a="3"} 3"#,
            r#"m{exported_cluster="e",exported_exported_cluster="beta"} 4"#,
        ]
        .map(|line| match line.contains("environment") {
            true => line.to_owned(),
            false => line.replace("} ", ",instance=\"\"} "),
        })
    );
}

#[tokio::test]
async fn reject_drops_the_series_and_counts_it() {
    let page = "m{a=\"1\"} 1\nm{site=\"south\"} 2\nm{site=\"north\"} 3\n";
    let (gateway, dropped) = gateway_under(conflict(LabelConflict::Reject), &NODE, page);
    assert_eq!(dropped, [(DropReason::LabelConflict, 1)]);
    assert_eq!(gateway.lines(&["m"]).await.len(), 2);
    let (gateway, dropped) = gateway_under(conflict(LabelConflict::Reject), &[("site", "south")], page);
    assert_eq!(dropped, [(DropReason::LabelConflict, 3)], "a target's own label is all its series' label");
    assert_eq!(gateway.lines(&["m", "up"]).await, [""; 0]);
}

#[tokio::test]
async fn keep_keeps_all_but_cluster_and_environment() {
    let (gateway, _) = gateway_under(conflict(LabelConflict::Keep), &NODE, "m{site=\"south\",cluster=\"x\"} 1\n");
    assert_eq!(
        gateway.lines(&[r#"m{site="south",cluster="alpha"}"#]).await,
        [format!(
            r#"m{{exported_cluster="x",instance="n1",job="node",site="south",cluster="alpha",environment="test"}} 1 {START}"#
        )]
    );
}

#[tokio::test]
async fn labels_made_equal_leave_one_series() {
    let (gateway, dropped) = gateway_under(policy("alpha"), &NODE, "m{cluster=\"alpha\"} 1\nm 2\n");
    assert_eq!(shown(&gateway).await, [r#"m{instance="n1",job="node"} 1"#]);
    assert_eq!(dropped, [(DropReason::Duplicate, 1)]);
}

#[tokio::test]
async fn the_gateways_names_are_refused_series_by_series() {
    let page = "fedgate_cluster_up 1\nfedgate_collector_up 1\nfedgate_collector_scrapes_total 1\nfedgate_push_x 1\nfedgate_gateway_x 1\nm 1\nup 5\n";
    let (gateway, dropped) = gateway_under(policy("alpha"), &NODE, page);
    assert_eq!(dropped, [(DropReason::GatewayName, 4)]);
    assert_eq!(gateway.lines(&["fedgate_collector_scrapes_total", "m"]).await.len(), 2);
    assert_eq!(gateway.lines(&[r#"fedgate_cluster_up{job="node"}"#]).await, [""; 0]);
    assert_eq!(gateway.lines(&["up"]).await.len(), 2, "an up that comes as a series stays one");
}

#[tokio::test]
async fn limits_drop_series_and_say_why() {
    let limits =
        ClusterLimits { labels_per_series: 6, label_name_bytes: 8, label_value_bytes: 12, ..ClusterLimits::default() };
    let page = "m{a=\"1\"} 1\nm{a=\"1\",b=\"2\"} 1\nm{very_long_name=\"1\"} 1\nm{v=\"1234567890123\"} 1\nmetric_with_a_long_name 1\n";
    let (gateway, dropped) = gateway_under(ClusterPolicy { limits, ..policy("alpha") }, &NODE, page);
    let counts: BTreeMap<&str, u64> = dropped.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(counts, BTreeMap::from([("labels_per_series", 1), ("label_name_bytes", 1), ("label_value_bytes", 2)]));
    assert_eq!(gateway.lines(&["m"]).await.len(), 1);
}

#[tokio::test]
async fn a_full_cluster_keeps_its_first_series_and_takes_more_when_there_is_room() {
    let limits = ClusterLimits { series: 300, ..ClusterLimits::default() };
    let gateway = Gateway::new([ClusterPolicy { limits, ..policy("alpha") }]);
    let mut collector = Collector::new(1, START);
    let page = |series: usize| (0..series).map(|i| format!("m{{i=\"{i:03}\"}} 1\n")).collect::<String>();
    collector.scrape(&[("job", "a")], START, &page(200));
    collector.scrape(&[("job", "b")], START, &page(200));
    let accepted = gateway.take("alpha", &mut collector);
    assert_eq!(accepted.dropped.get(DropReason::SeriesLimit), 100);
    let lines = gateway.lines(&["m"]).await;
    assert_eq!(lines.len(), 300);
    let of_job = |job: &str| lines.iter().filter(|line| line.contains(job)).count();
    let (whole, cut) = if of_job("job=\"a\"") == 200 { ("a", "b") } else { ("b", "a") };
    assert_eq!(lines.iter().filter(|line| line.contains("i=\"1")).count(), 100, "the lower slots stay");
    gateway.pass(15);
    collector.without_page(&[("job", whole)], gateway.now(), Outcome::Gone);
    collector.scrape(&[("job", cut)], gateway.now(), &page(200));
    assert_eq!(gateway.take("alpha", &mut collector).dropped.total(), 0);
    assert_eq!(gateway.lines(&["m"]).await.len(), 200);
}

#[tokio::test]
async fn samples_far_ahead_are_refused_by_target() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&[("job", "ahead")], START + 600_001, "m 1\n");
    collector.scrape(&[("job", "just")], START + 600_000, &format!("m 1\nm{{own=\"1\"}} 1 {}\n", START + 600_001));
    let accepted = gateway.take("alpha", &mut collector);
    assert_eq!(accepted.dropped.get(DropReason::Ahead), 2);
    let lines = gateway.lines(&["m"]).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("job=\"just\""));
}

#[test]
fn what_stands_beside_a_sample_comes_and_goes_with_it() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    let histogram = NativeHistogram {
        reset_hint: ResetHint::Unknown,
        schema: 0,
        zero_threshold: 0.0,
        sum: 0.0,
        custom_bounds: Vec::new(),
        counts: HistogramCounts::Integer(Counts::default()),
    };
    let histogram = Arc::new(HistogramSample { histogram, exemplars: Vec::new() });
    let scrape = collector.scrape(&[("job", "a")], START, "ahead 1\nhere 1\n");
    scrape.values.fill(f64::from_bits(HISTOGRAM_NAN));
    scrape.beside = Beside {
        timestamps: vec![(0, Timestamp(START + 600_001))],
        histograms: vec![(0, histogram.clone()), (1, histogram)],
        starts: vec![(0, Timestamp(1)), (1, Timestamp(2))],
        ..Beside::default()
    };
    assert_eq!(gateway.take("alpha", &mut collector).dropped.get(DropReason::Ahead), 1);
    let view = gateway.store.view(gateway.moment().0, gateway.moment().1, None);
    let beside = &view.targets[0].target.beside;
    assert_eq!((beside.histogram_of(0), beside.start_of(0)), (None, None));
    assert!(beside.histogram_of(1).is_some() && beside.start_of(1) == Some(Timestamp(2)));
}

#[tokio::test]
async fn a_restarted_collector_takes_its_targets_over_at_once() {
    let gateway = Gateway::new([policy("alpha")]);
    let (mut first, mut second) = (Collector::new(1, START), Collector::new(2, START + 5_000));
    first.scrape(&NODE, START, "m 1\n");
    first.scrape(&[("job", "slow")], START, "m 7\n");
    gateway.take("alpha", &mut first);
    gateway.pass(5);
    second.scrape(&NODE, gateway.now(), "m 2\n");
    gateway.take("alpha", &mut second);
    let values =
        |lines: Vec<String>| lines.iter().map(|line| line.rsplit(' ').nth(1).unwrap().to_owned()).collect::<String>();
    assert_eq!(values(gateway.lines(&["m"]).await), "72", "the rest stays until the new run has scraped it");
    first.scrape(&NODE, gateway.now(), "m 3\n");
    gateway.take("alpha", &mut first);
    assert_eq!(values(gateway.lines(&["m"]).await), "72", "and the old run does not take it back");
}

#[tokio::test]
async fn another_collector_of_the_same_targets_waits_until_the_first_is_silent() {
    let gateway = Gateway::new([policy("alpha")]);
    let (mut first, mut second) = (Collector::new(1, START), Collector::new(2, START));
    let push = |gateway: &Gateway, collector: &mut Collector, identity: &str, page: &str| {
        collector.scrape(&NODE, gateway.now(), page);
        let frames = collector.tick(gateway.now());
        gateway.push("alpha", identity, &frames).expect("in order");
    };
    push(&gateway, &mut first, "alpha.example", "m 1\n");
    push(&gateway, &mut second, "alpha-2.example", "m 2\nonly_second 2\n");
    let value = async || gateway.lines(&["m"]).await[0].rsplit(' ').nth(1).unwrap().to_owned();
    assert_eq!(value().await, "1");
    gateway.pass(30);
    push(&gateway, &mut second, "alpha-2.example", "m 3\n");
    assert_eq!(value().await, "1", "silent for just twice the interval");
    gateway.pass(1);
    push(&gateway, &mut second, "alpha-2.example", "m 4\n");
    assert_eq!(value().await, "4");
    push(&gateway, &mut first, "alpha.example", "m 5\n");
    assert_eq!(value().await, "4", "who comes back waits in turn");
    let facts = gateway.lines(&["fedgate_collector_up"]).await;
    assert_eq!(facts.len(), 2, "{facts:?}");
}

#[tokio::test]
async fn silence_ends_up_first_and_the_series_later() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m 1\n");
    gateway.take("alpha", &mut collector);
    let up = async || gateway.lines(&["fedgate_cluster_up"]).await[0].rsplit(' ').nth(1).unwrap().to_owned();
    gateway.pass(30);
    assert_eq!(up().await, "1");
    gateway.pass(1);
    assert_eq!((up().await.as_str(), gateway.lines(&["m"]).await.len()), ("0", 1));
    gateway.pass(29);
    assert_eq!(gateway.lines(&["m"]).await.len(), 1);
    gateway.pass(1);
    assert_eq!(gateway.lines(&["m", "up"]).await, [""; 0]);
    assert_eq!(gateway.lines(&["fedgate_cluster_series"]).await[0].rsplit(' ').nth(1), Some("0"));
    assert_eq!(gateway.store.cluster("alpha").unwrap().streams.len(), 1, "held until the sweep");
    gateway.store.sweep(gateway.moment().1);
    assert_eq!(gateway.store.cluster("alpha").unwrap().streams.len(), 0);
    collector.scrape(&NODE, gateway.now(), "m 2\n");
    let frames = collector.tick(gateway.now());
    assert!(
        matches!(gateway.push("alpha", "alpha.example", &frames), Err(Refusal::State(_))),
        "the stream must begin again"
    );
}

#[tokio::test]
async fn a_reload_changes_every_stream_at_once() {
    let gateway = Gateway::new([policy("alpha"), policy("beta")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m{site=\"south\"} 1\nm{a=\"1\"} 2\n");
    gateway.take("alpha", &mut collector);
    gateway.store.set_inventory(Inventory::new([conflict(LabelConflict::Rename)]).unwrap());
    let stamped = r#"cluster="alpha",environment="test",site="north""#;
    assert_eq!(
        gateway.lines(&["m"]).await,
        [
            format!(r#"m{{exported_site="south",instance="n1",job="node",{stamped}}} 1 {START}"#),
            format!(r#"m{{a="1",instance="n1",job="node",{stamped}}} 2 {START}"#),
        ]
    );
    assert!(gateway.store.cluster("beta").is_none(), "a cluster that left the inventory");
    assert_eq!(gateway.lines(&["fedgate_cluster_up"]).await.len(), 1);
    gateway.pass(15);
    collector.scrape(&NODE, gateway.now(), "m{site=\"south\"} 3\nm{a=\"1\"} 4\n");
    gateway.take("alpha", &mut collector);
    assert!(gateway.lines(&["m"]).await[0].contains("exported_site"), "and so do later frames");
    let limits = ClusterLimits { series: 1, ..ClusterLimits::default() };
    gateway.store.set_inventory(Inventory::new([ClusterPolicy { limits, ..policy("alpha") }]).unwrap());
    assert_eq!(gateway.lines(&["m"]).await.len(), 1, "a new bound holds at once");
    gateway.store.set_inventory(
        Inventory::new([ClusterPolicy { identities: vec!["other".into()], ..policy("alpha") }]).unwrap(),
    );
    assert_eq!(gateway.lines(&["m"]).await, [""; 0], "what a removed identity pushed goes with it");
}

#[tokio::test]
async fn refused_frames_change_nothing() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m 1\n");
    let first = collector.tick(START);
    assert!(matches!(gateway.push("nowhere", "alpha.example", &first), Err(Refusal::UnknownCluster(_))));
    gateway.push("alpha", "alpha.example", &first).unwrap();
    let again = gateway.push("alpha", "alpha.example", &first).unwrap();
    assert!(again.last().unwrap().is_duplicate);
    assert!(matches!(gateway.push("alpha", "alpha-2.example", &first), Err(Refusal::ForeignStream { .. })));
    collector.scrape(&NODE, START, "m 2\n");
    let lost = collector.tick(START);
    collector.scrape(&NODE, START, "m 3\n");
    let after = collector.tick(START);
    assert!(matches!(gateway.push("alpha", "alpha.example", &after), Err(Refusal::State(_))));
    assert!(gateway.lines(&["m"]).await[0].contains("} 1 "));
    gateway.push("alpha", "alpha.example", &lost).unwrap();
    gateway.push("alpha", "alpha.example", &after).unwrap();
    assert!(gateway.lines(&["m"]).await[0].contains("} 3 "));
}

#[tokio::test]
async fn streams_of_a_cluster_are_bounded() {
    let limits = ClusterLimits { streams: 2, ..ClusterLimits::default() };
    let gateway = Gateway::new([ClusterPolicy { limits, ..policy("alpha") }]);
    let take = |collector: &str, run: u8| {
        let mut frames = Collector::new(run, START);
        frames.scrape(&[("job", &run.to_string())], gateway.now(), "m 1\n");
        gateway.push("alpha", collector, &frames.tick(gateway.now()))
    };
    take("alpha.example", 1).unwrap();
    gateway.pass(10);
    take("alpha.example", 2).unwrap();
    assert_eq!(take("alpha-2.example", 3), Err(Refusal::TooManyStreams { max: 2 }));
    gateway.pass(21);
    let mut unbegun = Collector::new(4, START);
    unbegun.tick(gateway.now());
    let delta = unbegun.tick(gateway.now());
    assert_eq!(gateway.push("alpha", "alpha-2.example", &delta), Err(Refusal::State(ApplyError::NeedKey)));
    assert_eq!(gateway.lines(&["m"]).await.len(), 2, "a stream that does not begin takes nobody's place");
    let accepted = take("alpha-2.example", 3).expect("the first has been silent long enough");
    assert!(accepted.iter().any(|accepted| accepted.has_evicted));
    assert_eq!(gateway.lines(&["m"]).await.len(), 2);
}

#[tokio::test]
async fn a_collectors_clock_is_that_of_its_newest_snapshot() {
    let gateway = Gateway::new([policy("alpha")]);
    let fact = async |name: &str| gateway.lines(&[name]).await[0].split(' ').nth(1).unwrap().to_owned();
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, gateway.now(), "m 1\n");
    let frames = collector.tick(START + 3_600_000);
    assert!(frames[0].kind.is_definition() && frames.len() == 2);
    gateway.push("alpha", "alpha.example", &frames[..1]).unwrap();
    assert_eq!(fact("fedgate_cluster_clock_skew_seconds").await, "NaN", "a definition has no clock");
    gateway.push("alpha", "alpha.example", &frames[1..]).unwrap();
    assert_eq!(fact("fedgate_cluster_clock_skew_seconds").await, "3600");
    // Its clock was an hour fast, and is right after a restart.
    gateway.pass(15);
    gateway.take("alpha", &mut Collector::new(2, gateway.now()));
    assert_eq!(fact("fedgate_cluster_clock_skew_seconds").await, "0");
    assert_eq!(fact("fedgate_cluster_last_snapshot_timestamp_seconds").await, "1.800000015e+09");
    gateway.push("alpha", "alpha.example", &frames[1..]).unwrap();
    assert_eq!(fact("fedgate_cluster_clock_skew_seconds").await, "0", "a frame that came again says nothing new");
}

#[tokio::test]
async fn a_clock_is_not_off_because_frames_waited() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m 1\n");
    let frames = collector.tick(START);
    gateway.pass(600);
    gateway.push_with_skew("alpha", "alpha.example", &frames, Some(20)).unwrap();
    let line = &gateway.lines(&["fedgate_cluster_clock_skew_seconds"]).await[0];
    assert_eq!(line.split(' ').nth(1), Some("0.02"), "the frame is ten minutes old, the clock is not");
}

#[tokio::test]
async fn who_was_revoked_while_a_push_was_under_way_brings_nothing_back() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, "m 1\n");
    gateway.take("alpha", &mut collector);
    let only_other = ClusterPolicy { identities: vec!["alpha-2.example".to_owned()], ..policy("alpha") };
    gateway.store.set_inventory(Inventory::new([only_other]).unwrap());
    let refused = gateway.push("alpha", "alpha.example", &collector.tick_with(START, true));
    assert!(matches!(refused, Err(Refusal::UnknownCollector { .. })), "{refused:?}");
    assert!(gateway.lines(&["m"]).await.is_empty());
}

#[tokio::test]
async fn a_collector_that_starts_again_and_again_never_locks_itself_out() {
    let limits = ClusterLimits { streams: 2, ..ClusterLimits::default() };
    let gateway = Gateway::new([ClusterPolicy { limits, ..policy("alpha") }]);
    for run in 1..=9 {
        let mut frames = Collector::new(run, START + i64::from(run));
        frames.scrape(&NODE, gateway.now(), &format!("m {run}\n"));
        gateway.push("alpha", "alpha.example", &frames.tick(gateway.now())).expect("an earlier run makes room");
        gateway.pass(1);
    }
    let lines = gateway.lines(&["m"]).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("} 9 "), "{lines:?}");
}

/// What a certificate on two machines comes to: each target is shown once and never steps back, and the gateway tells.
#[tokio::test]
async fn of_two_collectors_with_one_certificate_the_later_run_owns_what_both_scrape() {
    let gateway = Gateway::new([policy("alpha")]);
    let (mut earlier, mut later) = (Collector::new(1, START), Collector::new(2, START + 1));
    let push = |collector: &mut Collector, value: u32, own: &str| {
        let now = gateway.now();
        collector.scrape(&NODE, now, &format!("m {value}\n"));
        collector.scrape(&[("instance", own), ("job", "own")], now, "n 1\n");
        let accepted = gateway.push("alpha", "alpha.example", &collector.tick(now)).expect("both may push");
        accepted.iter().any(|accepted| accepted.is_outrun)
    };
    assert!(!push(&mut earlier, 10, "a"));
    for round in 0..4 {
        gateway.pass(5);
        assert!(!push(&mut later, 20 + round, "b"), "nothing is later");
        gateway.pass(5);
        assert!(push(&mut earlier, 10 + round, "a"));
        let lines = gateway.lines(&["m"]).await;
        assert!(matches!(&lines[..], [line] if line.contains(&format!("}} {} ", 20 + round))), "{lines:?}");
        assert_eq!(gateway.lines(&["n"]).await.len(), 2, "what only one scrapes is shown");
    }
    gateway.pass(40);
    push(&mut earlier, 99, "a");
    let lines = gateway.lines(&["m"]).await;
    assert!(matches!(&lines[..], [line] if line.contains("} 99 ")), "the later one is silent: {lines:?}");
}

/// Every value of a page is the round's number; a reader that saw two different ones saw half a frame.
#[test]
fn readers_never_see_half_a_frame() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    let page = |round: usize| (0..600).map(|i| format!("m{{i=\"{i}\"}} {round}\n")).collect::<String>();
    let done = Arc::new(AtomicBool::new(false));
    let (store, moment) = (gateway.store.clone(), gateway.moment());
    let reader = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut seen = 0;
            while !done.load(Ordering::Acquire) {
                let view = store.view(moment.0, Instant::now(), None);
                let mut values = view.targets.iter().flat_map(|site| site.target.column.iter());
                if let Some(first) = values.next() {
                    assert!(values.all(|value| value == first), "two rounds in one view");
                    assert_eq!(view.targets[0].target.started, Timestamp(START + first as i64), "and its own time");
                    seen += 1;
                }
            }
            seen
        }
    });
    for round in 0..60 {
        for node in ["a", "b", "c"] {
            collector.scrape(&[("node", node)], START + round, &page(round as usize));
        }
        gateway.take("alpha", &mut collector);
    }
    done.store(true, Ordering::Release);
    assert!(reader.join().unwrap() > 0);
}

#[tokio::test]
async fn samples_of_a_clock_an_hour_fast_are_refused_until_it_is_set_right() {
    let gateway = Gateway::new([policy("alpha")]);
    let mut collector = Collector::new(1, START);
    let mut push = |at: i64, value: u32| {
        collector.scrape(&NODE, at, &format!("m {value}\n"));
        let accepted = gateway.push("alpha", "alpha.example", &collector.tick(START + 3_600_000)).expect("in order");
        accepted.iter().flat_map(|accepted| accepted.dropped.iter()).collect::<Vec<_>>()
    };
    assert_eq!(push(START, 1), []);
    assert_eq!(push(START + 3_600_000, 2), [(DropReason::Ahead, 1)]);
    assert!(gateway.lines(&["m"]).await[0].contains("} 1 "), "what was shown stays");
    gateway.pass(15);
    let mut push = |at: i64, value: u32| {
        collector.scrape(&NODE, at, &format!("m {value}\n"));
        gateway.push("alpha", "alpha.example", &collector.tick(START + 3_600_000)).expect("in order")
    };
    push(gateway.now(), 3);
    assert!(gateway.lines(&["m"]).await[0].contains("} 3 "), "the tick is still an hour ahead, the sample is not");
}
