//! Remote write to the gateway, as Prometheus servers with collectors' certificates send it: a connection a cluster, mutual TLS 1.3, HTTP/2.

use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Certificate, Client, Identity};
use tokio::runtime::{Builder, Runtime};

use crate::cluster;
use crate::gateway::Gateway;
use crate::remote_write::{CONNECTIONS, Load};

/// A connection a cluster; as many at once as the peers have.
pub(crate) struct Writer {
    lanes: Vec<Lane>,
}

/// A thread's clusters, one after the other.
struct Lane {
    runtime: Runtime,
    links: Vec<Link>,
}

struct Link {
    cluster: usize,
    client: Client,
    url: String,
}

impl Writer {
    /// Issues the certificates and connects, so that handshakes are behind when the measuring begins.
    pub(crate) fn new(gateway: &Gateway) -> Writer {
        // There is one already where the row of frames went before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clusters: Vec<usize> = (0..gateway.shape.clusters).collect();
        let lane = |part: &[usize]| {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            let links: Vec<Link> = part.iter().map(|cluster| Link::new(gateway, *cluster)).collect();
            links.iter().for_each(|link| runtime.block_on(link.post(packed_nothing())));
            Lane { runtime, links }
        };
        Writer { lanes: clusters.chunks(clusters.len().div_ceil(CONNECTIONS)).map(lane).collect() }
    }

    /// Posts these rounds, each cluster's in order.
    pub(crate) fn push(&self, load: &Load, rounds: Range<usize>) {
        std::thread::scope(|scope| {
            for lane in &self.lanes {
                let rounds = rounds.clone();
                scope.spawn(move || rounds.for_each(|round| lane.push(load, round)));
            }
        });
    }
}

impl Lane {
    fn push(&self, load: &Load, round: usize) {
        for link in &self.links {
            for body in load.bodies(link.cluster, round) {
                self.runtime.block_on(link.post(body.clone()));
            }
        }
    }
}

impl Link {
    fn new(gateway: &Gateway, cluster: usize) -> Link {
        let config = gateway.push_config(&cluster::name(cluster));
        let read = |file: &Option<PathBuf>| fs::read(file.as_ref().expect("all three are set")).expect("just written");
        let tls = &config.tls_config;
        let identity = [read(&tls.cert_file), read(&tls.key_file)].concat();
        let client = Client::builder()
            .no_proxy()
            .tls_certs_only([Certificate::from_pem(&read(&tls.ca_file)).expect("a certificate")])
            .identity(Identity::from_pem(&identity).expect("certificate and key"))
            .build();
        Link { cluster, client: client.expect("good certificates"), url: gateway.write_url() }
    }

    /// Posts a body of remote write 1.0; panics unless all of it was taken.
    async fn post(&self, body: Bytes) {
        let request = self.client.post(&self.url).body(body);
        let headers = [(CONTENT_TYPE, "application/x-protobuf"), (CONTENT_ENCODING, "snappy")];
        let request = headers.into_iter().fold(request, |request, (name, value)| request.header(name, value));
        let answer = request.send().await.expect("the gateway answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status == 204, "{status}: {text}");
    }
}

/// A request that writes nothing.
fn packed_nothing() -> Bytes {
    snap::raw::Encoder::new().compress_vec(b"").expect("nothing is short").into()
}
