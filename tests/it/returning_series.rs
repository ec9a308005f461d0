//! What a scraper is shown of a series that ended and is back: never a sample that lies before the scraper's own mark.

use fedgate::snapshot::Outcome;

use crate::store_pushes::{Collector, Gateway, START, escaped, policy};

const NODE: [(&str, &str); 2] = [("instance", "n1:9100"), ("job", "node")];
const PROMETHEUS: &[(&str, &str)] =
    &[("user-agent", "Prometheus/3.5.3"), ("x-prometheus-scrape-timeout-seconds", "10")];
const OTHER: &[(&str, &str)] = &[("user-agent", "vmagent"), ("x-prometheus-scrape-timeout-seconds", "10")];
const PERSON: &[(&str, &str)] = &[("user-agent", "curl")];

/// A target with the series `a` and `b`, scraped five seconds before each page.
struct Scene {
    gateway: Gateway,
    collector: Collector,
}

impl Scene {
    fn new() -> Scene {
        Scene { gateway: Gateway::new([policy("alpha")]), collector: Collector::new(1, START) }
    }

    /// The scrape of seven seconds ago arrives: later than the page of a scraper that asks every five seconds.
    fn push(&mut self, page: &str) {
        self.collector.scrape(&NODE, self.gateway.now() - 7000, page);
        self.gateway.take("alpha", &mut self.collector);
    }

    fn push_failure(&mut self) {
        self.collector.without_page(&NODE, self.gateway.now() - 7000, Outcome::Failed);
        self.gateway.take("alpha", &mut self.collector);
    }

    /// The names of the target's own series on this reader's page.
    async fn names(&self, reader: &[(&str, &str)]) -> String {
        let path = format!("/federate?match[]={}", escaped(r#"{__name__=~"a|b"}"#));
        let (_, _, page) = self.gateway.get(&path, reader).await;
        page.lines().filter(|line| !line.starts_with('#')).map(|line| &line[..1]).collect()
    }
}

#[tokio::test]
async fn a_scraper_is_not_shown_a_sample_from_before_its_own_mark() {
    let mut scene = Scene::new();
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
    scene.gateway.pass(5);
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a", "here it marks b as ended");
    scene.gateway.pass(5);
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a", "the sample is two seconds older than the mark");
    assert_eq!(scene.names(PERSON).await, "ab", "a person marks nothing");
    assert_eq!(scene.names(OTHER).await, "ab", "nor has this one seen the page without it");
    scene.gateway.pass(5);
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
}

#[tokio::test]
async fn the_first_page_without_a_series_has_the_mark() {
    let mut scene = Scene::new();
    scene.push("b 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "b");
    scene.gateway.pass(5);
    scene.push("");
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    assert_eq!(scene.names(PROMETHEUS).await, "", "a second page without it marks nothing");
    scene.gateway.pass(3);
    scene.push("b 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "b", "its sample lies between the two pages");
}

#[tokio::test]
async fn a_target_that_fails_once_comes_back_with_all_its_series_at_once() {
    let mut scene = Scene::new();
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
    scene.gateway.pass(5);
    scene.push_failure();
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    scene.push("a 1\nb 1\nc 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
}

#[tokio::test]
async fn a_scraper_that_missed_the_gap_sees_none() {
    let mut scene = Scene::new();
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
    scene.gateway.pass(5);
    scene.push("a 1\n");
    scene.gateway.pass(5);
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
    scene.gateway.pass(1);
    assert_eq!(scene.names(PROMETHEUS).await, "ab", "the same samples once more");
}

#[tokio::test]
async fn samples_with_timestamps_of_their_own_are_judged_by_these() {
    let mut scene = Scene::new();
    let now = scene.gateway.now();
    scene.push(&format!("a 1 {now}\nb 1 {now}\n"));
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
    scene.gateway.pass(5);
    scene.push("");
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    let (before, after) = (now + 4000, now + 6000);
    scene.push(&format!("a 1 {before}\nb 1 {after}\n"));
    assert_eq!(scene.names(PROMETHEUS).await, "b", "only a lies before the mark");
}

#[tokio::test]
async fn a_target_that_discovery_gave_back_comes_with_its_next_sample() {
    let mut scene = Scene::new();
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a");
    scene.gateway.pass(5);
    scene.collector.without_page(&NODE, scene.gateway.now() - 7000, Outcome::Gone);
    scene.gateway.take("alpha", &mut scene.collector);
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "");
    assert_eq!(scene.names(PERSON).await, "a");
    scene.gateway.pass(5);
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a");
}

#[tokio::test]
async fn a_backlog_after_a_long_silence_is_not_shown_until_it_has_passed_the_mark() {
    let mut scene = Scene::new();
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a");
    scene.gateway.pass(61);
    assert_eq!(scene.names(PROMETHEUS).await, "", "silence ended it, no frame did");
    scene.gateway.pass(60);
    let (mut run, now) = (Collector::new(2, START + 1), scene.gateway.now());
    for seconds_ago in [90, 75, 60] {
        run.scrape(&NODE, now - 1000 * seconds_ago, "a 1\n");
        scene.gateway.take("alpha", &mut run);
        assert_eq!(scene.names(PROMETHEUS).await, "", "{seconds_ago}");
    }
    run.scrape(&NODE, now - 45_000, "a 1\n");
    scene.gateway.take("alpha", &mut run);
    assert_eq!(scene.names(PROMETHEUS).await, "a");
}

#[tokio::test]
async fn what_was_there_before_the_gateway_started_may_have_been_marked_on_its_first_page() {
    let mut scene = Scene::new();
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "");
    assert_eq!(scene.names(OTHER).await, "a", "this one's first page has it");
    scene.gateway.pass(5);
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a");
}

#[tokio::test]
async fn a_new_run_of_a_collector_takes_nothing_away() {
    let mut scene = Scene::new();
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a");
    scene.gateway.pass(5);
    assert_eq!(scene.names(PROMETHEUS).await, "a");
    scene.collector = Collector::new(2, START + 1);
    scene.push("a 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "a", "the target was never missing");
}

#[tokio::test]
async fn what_comes_again_after_a_restart_does_not_wear_the_memory_out() {
    let mut scene = Scene::new();
    assert_eq!(scene.names(PROMETHEUS).await, "", "the first page of this gateway");
    scene.gateway.pass(5);
    for seconds_ago in (7..47).rev() {
        scene.collector.scrape(&NODE, scene.gateway.now() - 1000 * seconds_ago, "a 1\nb 1\n");
        scene.gateway.take("alpha", &mut scene.collector);
    }
    assert_eq!(scene.names(PROMETHEUS).await, "");
    scene.gateway.pass(5);
    scene.push("a 1\nb 1\n");
    assert_eq!(scene.names(PROMETHEUS).await, "ab");
}
