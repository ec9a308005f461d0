//! Recorded series: what rules give the store, and who sees it how.

use fedgate::model::{Labels, METRIC_NAME, MatchOp, Matcher, Timestamp};
use fedgate::promql::{Budget, Cell, SelectionCache, Source, Steps, StoreSource};
use fedgate::store::{RecordError, RecordedSample, RuleId};

use crate::store_pushes::{Collector, Gateway, START, policy};

fn rule(number: u32) -> RuleId {
    RuleId { group: "rules.yml;site".into(), rule: number }
}

fn record(gateway: &Gateway, number: u32, series: &[(&[(&str, &str)], f64)]) -> Result<(), RecordError> {
    let series = series
        .iter()
        .map(|(labels, value)| (Labels::from_pairs(labels.iter().copied()), RecordedSample::Float(*value)));
    gateway.store.record(&rule(number), Timestamp(gateway.now()), series).map(|_| ())
}

/// What a query sees now, as text.
fn queried(gateway: &Gateway, cache: &SelectionCache, matchers: &[(&str, &str)]) -> Vec<String> {
    let (wall, monotonic) = gateway.moment();
    let view = gateway.store.view(wall, monotonic, None);
    let matchers: Vec<Matcher> =
        matchers.iter().map(|(name, value)| Matcher::new(name, MatchOp::Equal, value).unwrap()).collect();
    let source = StoreSource::new(&view, cache);
    let budget = Budget::new(1_000, &|| false);
    let vector = source.instant(&matchers, &Steps::instant(wall), 300_000, &budget).unwrap();
    let cells = (0..vector.rows.len()).filter_map(|row| match vector.cells.get(row)? {
        Cell::Float(value) => Some(format!("{} {value}", vector.rows.labels(row))),
        Cell::Histogram(_) => None,
    });
    cells.collect()
}

const ALPHA: &[(&str, &str)] = &[(METRIC_NAME, "slurm:x"), ("cluster", "alpha")];
const NOWHERE: &[(&str, &str)] = &[(METRIC_NAME, "slurm:x"), ("partition", "p")];

#[tokio::test]
async fn queries_see_a_rules_labels_and_pages_the_clusters_too() {
    let (gateway, cache) = (Gateway::new([policy("alpha"), policy("beta")]), SelectionCache::new());
    record(&gateway, 0, &[(ALPHA, 1.0), (NOWHERE, 2.0)]).unwrap();
    assert_eq!(
        queried(&gateway, &cache, &[(METRIC_NAME, "slurm:x")]),
        [r#"slurm:x{cluster="alpha"} 1"#, r#"slurm:x{partition="p"} 2"#]
    );
    assert_eq!(queried(&gateway, &cache, &[(METRIC_NAME, "slurm:x"), ("environment", "test")]), [""; 0]);
    assert_eq!(queried(&gateway, &cache, &[(METRIC_NAME, "slurm:x"), ("cluster", "")]).len(), 1);
    assert_eq!(
        gateway.lines(&["slurm:x"]).await,
        [
            format!(r#"slurm:x{{cluster="alpha",environment="test",instance=""}} 1 {START}"#),
            format!(r#"slurm:x{{partition="p",instance=""}} 2 {START}"#),
        ]
    );
    assert_eq!(gateway.lines(&[r#"slurm:x{environment="test"}"#]).await.len(), 1);
    let of_cluster = |cluster: &'static str| {
        let gateway = &gateway;
        async move {
            let page = gateway.get(&format!("/metrics/{cluster}"), &[]).await.2;
            page.lines().filter(|line| line.starts_with("slurm:x")).count()
        }
    };
    assert_eq!((of_cluster("alpha").await, of_cluster("beta").await), (1, 0));
    let whole = gateway.get("/metrics", &[]).await.2;
    assert_eq!(whole.lines().filter(|line| line.starts_with("slurm:x")).count(), 2);
}

#[test]
fn what_an_evaluation_does_not_give_ends_with_it_and_other_rules_stay() {
    let (gateway, cache) = (Gateway::new([policy("alpha")]), SelectionCache::new());
    let name = [(METRIC_NAME, "slurm:x")];
    record(&gateway, 0, &[(ALPHA, 1.0), (NOWHERE, 2.0)]).unwrap();
    record(&gateway, 1, &[(&[(METRIC_NAME, "slurm:x"), ("rule", "1")], 3.0)]).unwrap();
    assert_eq!(queried(&gateway, &cache, &name).len(), 3);
    assert!(matches!(record(&gateway, 0, &[]), Err(RecordError::OutOfOrder { .. })));
    gateway.pass(30);
    record(&gateway, 0, &[(NOWHERE, 4.0)]).unwrap();
    assert_eq!(
        queried(&gateway, &cache, &name),
        [r#"slurm:x{partition="p"} 4"#, r#"slurm:x{rule="1"} 3"#],
        "the other rule was not evaluated"
    );
    gateway.pass(30);
    record(&gateway, 0, &[(ALPHA, 5.0)]).unwrap();
    assert_eq!(queried(&gateway, &cache, &name)[0], r#"slurm:x{cluster="alpha"} 5"#);
    gateway.store.retain_rules(|id| id.rule == 1);
    assert_eq!(queried(&gateway, &cache, &name), [r#"slurm:x{rule="1"} 3"#]);
}

#[test]
fn recorded_and_scraped_series_of_one_name_are_both_there() {
    let (gateway, cache) = (Gateway::new([policy("alpha")]), SelectionCache::new());
    let mut collector = Collector::new(1, START);
    collector.scrape(&[("job", "node")], START, "slurm:x 7\n");
    gateway.take("alpha", &mut collector);
    record(&gateway, 0, &[(ALPHA, 1.0)]).unwrap();
    assert_eq!(queried(&gateway, &cache, &[(METRIC_NAME, "slurm:x"), ("cluster", "alpha")]).len(), 2);
}

#[tokio::test]
async fn an_inventorys_new_labels_reach_what_was_recorded_before() {
    let gateway = Gateway::new([policy("alpha")]);
    record(&gateway, 0, &[(ALPHA, 1.0)]).unwrap();
    let labels = Labels::from_pairs([("cluster", "alpha"), ("environment", "test"), ("site", "north")]);
    let policy = fedgate::store::ClusterPolicy { labels, ..policy("alpha") };
    gateway.store.set_inventory(fedgate::store::Inventory::new([policy]).unwrap());
    assert_eq!(
        gateway.lines(&[r#"slurm:x{site="north"}"#]).await,
        [format!(r#"slurm:x{{cluster="alpha",environment="test",site="north",instance=""}} 1 {START}"#)]
    );
}
