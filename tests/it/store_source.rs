//! Queries over the store's views: which sample an evaluation sees, and what stays the same from one to the next.

use std::sync::Arc;

use fedgate::model::{METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{Budget, Cell, Rows, SelectionCache, Source, Steps, StoreSource, Vector};

use crate::store_pushes::{Collector, Gateway, START, policy};

const NODE: [(&str, &str); 2] = [("instance", "n1"), ("job", "node")];
const LOOKBACK: i64 = 300_000;

fn named(name: &str) -> Vec<Matcher> {
    vec![Matcher::new(METRIC_NAME, MatchOp::Equal, name).expect("no pattern")]
}

fn instant(gateway: &Gateway, cache: &SelectionCache, name: &str, steps: Steps) -> Vector {
    let (wall, monotonic) = gateway.moment();
    let view = gateway.store.view(wall, monotonic, None);
    let source = StoreSource::new(&view, cache);
    source.instant(&named(name), &steps, LOOKBACK, &Budget::new(1_000_000, &|| false)).expect("room in the budget")
}

/// All series with their cells, as text.
fn written(vector: &Vector) -> Vec<String> {
    let steps = vector.cells.floats.len() / vector.rows.len().max(1);
    let cell = |cell: usize| match vector.cells.get(cell) {
        Some(Cell::Float(value)) => value.to_string(),
        Some(Cell::Histogram(_)) => "histogram".to_owned(),
        None => "-".to_owned(),
    };
    let cells = |row: usize| (0..steps).map(|step| cell(row * steps + step)).collect::<Vec<_>>().join(" ");
    (0..vector.rows.len()).map(|row| format!("{} {}", vector.rows.labels(row), cells(row))).collect()
}

#[test]
fn a_sample_holds_from_its_time_until_the_lookback_ends_it() {
    let (gateway, cache) = (Gateway::new([policy("alpha")]), SelectionCache::new());
    let mut collector = Collector::new(1, START);
    collector.scrape(&NODE, START, &format!("m{{a=\"1\"}} 7\nm{{a=\"2\"}} 8 {}\n", START - 60_000));
    gateway.take("alpha", &mut collector);
    let steps = Steps { start: Timestamp(START - 60_000), step: 60_000, count: 7 };
    let rest = r#"cluster="alpha", environment="test", instance="n1", job="node""#;
    assert_eq!(
        written(&instant(&gateway, &cache, "m", steps)),
        [format!(r#"m{{a="1", {rest}}} - 7 7 7 7 7 -"#), format!(r#"m{{a="2", {rest}}} 8 8 8 8 8 - -"#)]
    );
    assert_eq!(
        written(&instant(&gateway, &cache, "up", Steps::instant(Timestamp(START)))),
        [r#"up{cluster="alpha", environment="test", instance="n1", job="node"} 1"#]
    );
    assert_eq!(
        written(&instant(&gateway, &cache, "fedgate_cluster_up", Steps::instant(Timestamp(START - 1_000)))),
        [r#"fedgate_cluster_up{cluster="alpha", environment="test"} 1"#]
    );
}

#[test]
fn rows_keep_their_identity_while_the_layout_is_the_same() {
    let (gateway, cache) = (Gateway::new([policy("alpha"), policy("beta")]), SelectionCache::new());
    let (mut alpha, mut beta) = (Collector::new(1, START), Collector::new(2, START));
    let rows = |gateway: &Gateway| -> Arc<Rows> {
        instant(gateway, &cache, "m", Steps::instant(Timestamp(gateway.now()))).rows
    };
    let mut push = |a: &str, b: &str| {
        gateway.pass(15);
        alpha.scrape(&NODE, gateway.now(), a);
        gateway.take("alpha", &mut alpha);
        beta.scrape(&NODE, gateway.now(), b);
        gateway.take("beta", &mut beta);
        rows(&gateway)
    };
    let first = push("m 1\n", "m 2\nn 1\n");
    let second = push("m 3\n", "m 4\nn 2\n");
    assert!(Arc::ptr_eq(&first, &second), "only values changed");
    let third = push("m 3\n", "m 4\nm{a=\"1\"} 5\n");
    assert_eq!((second.len(), third.len()), (2, 3));
}
