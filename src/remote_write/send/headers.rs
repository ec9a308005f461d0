//! The headers of requests: remote write's own, and the configured ones with the labels of a cluster put in.
//!
//! Invariant: a header whose text names a label that the cluster has not is left out: half a tenant's name would be another tenant.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::request::Version;
use crate::config::RemoteWriteConfig;
use crate::model::Labels;
use crate::remote_write::message::{CONTENT_TYPE_V1, CONTENT_TYPE_V2, VERSION_HEADER, VERSION_V1, VERSION_V2};

/// Says how often the request was sent before.
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");

/// A configured header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    name: HeaderName,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Label(String),
}

/// All configured headers of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    templates: Vec<Template>,
}

impl Headers {
    /// Of a checked configuration.
    pub fn new(config: &RemoteWriteConfig) -> Headers {
        let template =
            |(name, value): (&String, &String)| Some(Template { name: name.parse().ok()?, pieces: pieces(value) });
        Headers { templates: config.headers.iter().filter_map(template).collect() }
    }

    /// Whether what is sent depends on the cluster.
    pub fn names_labels(&self) -> bool {
        let names = |template: &Template| template.pieces.iter().any(|piece| matches!(piece, Piece::Label(_)));
        self.templates.iter().any(names)
    }

    /// The headers of a request with a cluster's series.
    pub fn of_request(&self, version: Version, cluster: &Labels, tries: u32) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for template in &self.templates {
            if let Some(value) = template.value(cluster) {
                headers.insert(template.name.clone(), value);
            }
        }
        let (content_type, number) = match version {
            Version::V1 => (CONTENT_TYPE_V1, VERSION_V1),
            Version::V2 => (CONTENT_TYPE_V2, VERSION_V2),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
        headers.insert(HeaderName::from_static(VERSION_HEADER), HeaderValue::from_static(number));
        if tries > 0 {
            headers.insert(RETRY_ATTEMPT, HeaderValue::from(tries));
        }
        headers
    }
}

impl Template {
    fn value(&self, cluster: &Labels) -> Option<HeaderValue> {
        let mut text = String::new();
        for piece in &self.pieces {
            text.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Label(label) => cluster.get(label)?,
            });
        }
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

fn pieces(value: &str) -> Vec<Piece> {
    let (mut pieces, mut rest) = (Vec::new(), value);
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((label, behind)) = after.split_once("}}") else { break };
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        pieces.push(Piece::Label(label.trim().to_owned()));
        rest = behind;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_labels_of_the_cluster_or_is_left_out() {
        let mut config = RemoteWriteConfig::default();
        for (name, value) in
            [("X-Scope-OrgID", "hpc-{{cluster}}-{{ site }}"), ("X-Plain", "a"), ("X-Other", "{{none}}")]
        {
            config.headers.insert(name.to_owned(), value.to_owned());
        }
        let (headers, cluster) = (Headers::new(&config), Labels::from_pairs([("cluster", "alpha"), ("site", "north")]));
        let sent = headers.of_request(Version::V2, &cluster, 3);
        let text = |name: &str| sent.get(name).map_or("", |value| value.to_str().unwrap_or_default());
        assert_eq!((text("x-scope-orgid"), text("x-plain"), text("x-other")), ("hpc-alpha-north", "a", ""));
        assert_eq!((text("retry-attempt"), text("content-encoding")), ("3", "snappy"));
        assert_eq!(text("content-type"), "application/x-protobuf;proto=io.prometheus.write.v2.Request");
        assert_eq!(text("x-prometheus-remote-write-version"), "2.0.0");
        assert!(headers.names_labels() && !Headers::default().names_labels());
        let first = headers.of_request(Version::V1, &cluster, 0);
        assert_eq!(first.get("x-prometheus-remote-write-version").unwrap(), "0.1.0");
        assert!(first.get("retry-attempt").is_none());
    }
}
