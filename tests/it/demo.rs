//! The simulated site is a believable one: valid pages, counters that only grow, series that come and go, one bad
//! target a cluster, and the same site for the same seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fedgate::demo::{Answer, Exporters, Site, SiteConfig};
use fedgate::exposition::{Entry, Format, belongs_to_family, parser};
use fedgate::model::{Labels, LabelsBuilder, MetricType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

fn small_site() -> Site {
    Site::new(SiteConfig { clusters: 2, nodes: 7, ..SiteConfig::default() })
}

/// Series and whether each is a counter; fails where the page is invalid or names a series twice.
fn read_page(page: &[u8]) -> BTreeMap<Labels, (bool, f64)> {
    let mut parser = parser(Format::Text, page);
    let (mut series, mut builder) = (BTreeMap::new(), LabelsBuilder::default());
    let mut last = (String::new(), MetricType::Unknown);
    while let Some(entry) = parser.next().expect("a valid page") {
        match entry {
            Entry::Type { family, kind } => last = (family.into_owned(), kind),
            Entry::Sample(sample) => {
                sample.labels(&mut builder).expect("valid labels");
                let labels = builder.build();
                let name = labels.metric_name();
                assert!(belongs_to_family(name, &last.0, last.1), "{name} stands under {}", last.0);
                let twice = series.insert(labels.clone(), (last.1 == MetricType::Counter, sample.value));
                assert!(twice.is_none(), "{labels} stands twice");
            }
            Entry::Help { .. } | Entry::Unit { .. } => {}
        }
    }
    series
}

fn page(site: &Site, path: &str, step: u64) -> Result<Vec<u8>, Answer> {
    let mut page = Vec::new();
    match site.answer(path, step, &mut page) {
        Answer::Page => Ok(page),
        other => Err(other),
    }
}

#[test]
fn pages_are_valid_and_counters_only_grow() {
    let site = small_site();
    for target in (0..2).flat_map(|cluster| site.targets(cluster)) {
        let mut before: BTreeMap<Labels, (bool, f64)> = BTreeMap::new();
        for step in 0..60 {
            let Ok(page) = page(&site, &target.path, step) else { continue };
            let series = read_page(&page);
            assert!(series.len() > 20, "{}: {}", target.path, series.len());
            for (labels, (_, value)) in series.iter().filter(|(_, (is_counter, _))| *is_counter) {
                let earlier = before.get(labels).map_or(0.0, |(_, value)| *value);
                assert!(*value >= earlier, "{labels} fell from {earlier} to {value}");
            }
            before = series;
        }
    }
}

#[test]
fn jobs_take_their_series_with_them() {
    let site = small_site();
    let series = |step| -> Vec<Labels> {
        let paths = site.targets(0).into_iter().map(|target| target.path);
        paths.filter_map(|path| page(&site, &path, step).ok()).flat_map(|page| read_page(&page).into_keys()).collect()
    };
    let (early, late) = (series(0), series(60));
    assert!(early.iter().any(|labels| !late.contains(labels)), "some series ended");
    assert!(late.iter().any(|labels| !early.contains(labels)), "some series began");
}

#[test]
fn a_cluster_has_about_as_many_series_as_asked_for() {
    for (nodes, budget) in [(10, 5_000), (25, 5_000), (100, 20_000)] {
        let site =
            Site::new(SiteConfig { clusters: 1, nodes, series_per_cluster: Some(budget), ..SiteConfig::default() });
        let pages = site.targets(0).into_iter().filter_map(|target| page(&site, &target.path, 5).ok());
        let series: usize = pages.map(|page| read_page(&page).len()).sum();
        assert!(series.abs_diff(budget) * 8 < budget, "{series} for {budget} on {nodes} nodes");
    }
}

#[test]
fn one_target_a_cluster_answers_badly_now_and_then() {
    let site = small_site();
    for cluster in 0..2 {
        let mut bad = BTreeMap::<String, Vec<Answer>>::new();
        for target in site.targets(cluster) {
            let answers = (0..200).filter_map(|step| page(&site, &target.path, step).err()).collect::<Vec<_>>();
            if !answers.is_empty() {
                bad.insert(target.path, answers);
            }
        }
        let answers = bad.values().next().expect("a target flaps");
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert!(
            answers.len() < 60 && answers.contains(&Answer::Fault) && answers.contains(&Answer::HangUp),
            "{answers:?}"
        );
    }
}

#[test]
fn a_seed_is_a_site() {
    let all = |seed| -> Vec<Result<Vec<u8>, Answer>> {
        let site = Site::new(SiteConfig { seed, clusters: 2, nodes: 3, ..SiteConfig::default() });
        let targets = (0..2).flat_map(|cluster| site.targets(cluster)).collect::<Vec<_>>();
        targets.iter().map(|target| page(&site, &target.path, 9)).collect()
    };
    assert_eq!(all(1), all(1));
    assert_ne!(all(1), all(2));
}

#[test]
fn jobs_of_the_configuration_name_every_target_once() {
    let site = small_site();
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let jobs = site.scrape_configs(0, address);
    let names: Vec<_> = jobs.iter().map(|job| job.job_name.as_str()).collect();
    assert_eq!(names[0], "node");
    assert_eq!(names.len(), 6);
    let groups: Vec<_> = jobs.iter().flat_map(|job| &job.static_configs).collect();
    assert_eq!(groups.len(), site.targets(0).len());
    for (group, target) in groups.iter().zip(site.targets(0)) {
        assert_eq!(group.targets, ["127.0.0.1:9"]);
        assert_eq!((&group.labels["instance"], &group.labels["__metrics_path__"]), (&target.instance, &target.path));
        let family = if target.job == "node" { "node-exporter" } else { "slurm-native" };
        assert_eq!(group.labels["fedgate_family"], family, "what the rule packs bind to");
    }
}

/// Everything that the exporters send before they close.
async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer).await);
    answer
}

#[tokio::test]
async fn exporters_answer_over_a_socket() {
    let site = Arc::new(small_site());
    let flapping: Vec<_> = site.targets(0).into_iter().map(|target| target.path).collect();
    let bad = |answer| {
        let all = flapping.iter().flat_map(|path| (0..200).map(move |step| (path.clone(), step)));
        all.into_iter().find(|(path, step)| page(&site, path, *step) == Err(answer)).unwrap()
    };
    let ((broken, fault_step), (silent, hang_up_step)) = (bad(Answer::Fault), bad(Answer::HangUp));
    let step = Arc::new(std::sync::atomic::AtomicU64::new(fault_step));
    let clock = {
        let step = step.clone();
        Arc::new(move || step.load(std::sync::atomic::Ordering::Relaxed))
    };
    let exporters = Exporters::bind("127.0.0.1:0".parse().unwrap(), site.clone(), clock).await.unwrap();
    let (address, stop) = (exporters.address(), CancellationToken::new());
    let serving = tokio::spawn(exporters.serve(stop.clone()));

    let answer = get(address, "/c/alpha/slurm/jobs").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(body.as_bytes(), page(&site, "/c/alpha/slurm/jobs", fault_step).unwrap());
    assert!(get(address, "/c/alpha/node/nobody/metrics").await.starts_with("HTTP/1.1 404"));
    assert!(get(address, &broken).await.starts_with("HTTP/1.1 500"));
    step.store(hang_up_step, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(get(address, &silent).await, "", "the connection ends without a byte");

    stop.cancel();
    serving.await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}
