//! What a reader gets for what it says it accepts: format, name escaping, compression.
//!
//! Clauses count in the order of their q-values; those with `q=0` are refusals. Like Prometheus, nobody is turned away:
//! who accepts nothing on offer gets text 0.0.4, uncompressed, because a scraper that asks oddly still wants its samples.

use super::escaping::Escaping;
use super::format::Format;

/// The Accept header of a scrape: Prometheus 3.5's own, without protobuf.
pub const SCRAPE_ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,\
    */*;q=0.2";

/// What a page is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The format.
    pub format: Format,
    /// How names outside the classic grammar are written.
    pub escaping: Escaping,
}

impl Negotiated {
    /// The response's Content-Type.
    pub fn content_type(self) -> String {
        self.format.content_type(self.escaping)
    }
}

/// How a body is compressed; in rising order of what is chosen where all are as welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952, what Prometheus asks for.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The word in Accept-Encoding and Content-Encoding.
    pub fn as_str(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }
}

/// For `/federate`: delimited protobuf or text 0.0.4, the latter even if only OpenMetrics is asked for, as in Prometheus.
pub fn negotiate_federate(accept: Option<&str>) -> Negotiated {
    negotiate(accept, |clause| match clause.name {
        "text/plain" => matches!(clause.parameter("version"), None | Some("0.0.4")).then_some(Format::Text),
        _ => clause.is_delimited_protobuf().then_some(Format::Protobuf),
    })
}

/// For pages of typed metrics: delimited protobuf, OpenMetrics 1.0, text 1.0.0 or text 0.0.4.
pub fn negotiate_metrics(accept: Option<&str>) -> Negotiated {
    negotiate(accept, |clause| match (clause.name, clause.parameter("version")) {
        ("text/plain", None | Some("0.0.4")) | ("*/*" | "text/*", _) => Some(Format::Text),
        ("text/plain", Some("1.0.0")) => Some(Format::Text1),
        ("application/openmetrics-text", None | Some("1.0.0")) => Some(Format::OpenMetrics),
        _ => clause.is_delimited_protobuf().then_some(Format::Protobuf),
    })
}

/// The first clause that `offer` can serve decides. An `escaping` counts in it and in every clause before it: that is
/// how Prometheus reads its own header, whose last clauses carry none.
fn negotiate(accept: Option<&str>, offer: impl Fn(&Clause<'_>) -> Option<Format>) -> Negotiated {
    let mut escaping = Escaping::default();
    for clause in clauses(accept.unwrap_or_default()) {
        escaping = clause.parameter("escaping").and_then(Escaping::of_word).unwrap_or(escaping);
        if let Some(format) = offer(&clause) {
            return Negotiated { format, escaping };
        }
    }
    Negotiated { format: Format::Text, escaping }
}

/// The compression for an Accept-Encoding header: of those most welcome the last in the order of [`Encoding`].
pub fn negotiate_encoding(accept_encoding: Option<&str>) -> Encoding {
    let clauses = clauses(accept_encoding.unwrap_or_default());
    let known = clauses.iter().filter_map(|clause| Some((clause.q, encoding_of(clause.name)?)));
    known.max().map_or(Encoding::Identity, |(_, encoding)| encoding)
}

/// `*` stands for gzip, which every client knows that says so.
fn encoding_of(name: &str) -> Option<Encoding> {
    match name {
        "zstd" => Some(Encoding::Zstd),
        "gzip" | "x-gzip" | "*" => Some(Encoding::Gzip),
        "identity" => Some(Encoding::Identity),
        _ => None,
    }
}

/// One clause of an Accept or Accept-Encoding header.
struct Clause<'a> {
    name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    /// In thousandths, so that it can be ordered.
    q: u16,
}

impl<'a> Clause<'a> {
    fn is_delimited_protobuf(&self) -> bool {
        self.name == "application/vnd.google.protobuf"
            && self.parameter("proto") == Some("io.prometheus.client.MetricFamily")
            && self.parameter("encoding") == Some("delimited")
    }

    fn of(text: &'a str) -> Clause<'a> {
        let mut parts = text.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).map(trimmed).collect();
        let q = parameters.iter().find(|(name, _)| *name == "q").map_or(1.0, |(_, q)| q.parse().unwrap_or(0.0));
        Clause { name, parameters, q: (f32::clamp(q, 0.0, 1.0) * 1000.0) as u16 }
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
    }
}

fn trimmed<'a>((name, value): (&'a str, &'a str)) -> (&'a str, &'a str) {
    (name.trim(), value.trim().trim_matches('"'))
}

/// The clauses that are no refusals, the most welcome first, in the header's order where they are as welcome.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = header.split(',').map(Clause::of).filter(|clause| clause.q > 0).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.q));
    clauses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn federate(accept: &str) -> String {
        negotiate_federate(Some(accept)).content_type()
    }

    fn metrics(accept: &str) -> String {
        negotiate_metrics(Some(accept)).content_type()
    }

    const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

    #[test]
    fn federate_is_text_whatever_is_asked() {
        assert_eq!(negotiate_federate(None).content_type(), TEXT);
        for accept in [
            "",
            "*/*",
            "text/html",
            "application/openmetrics-text;version=1.0.0",
            "text/plain;version=1.0.0",
            ";;,=;q=x",
        ] {
            assert_eq!(federate(accept), TEXT, "{accept}");
        }
        assert_eq!(federate(SCRAPE_ACCEPT), "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8");
    }

    #[test]
    fn an_escaping_counts_up_to_the_clause_that_matches() {
        assert_eq!(federate("text/plain, */*;q=0.1;escaping=dots"), TEXT);
        assert!(federate("a/b;escaping=dots, text/plain").ends_with("escaping=dots"));
        assert!(federate("a/b;escaping=dots, text/plain;escaping=values").ends_with("escaping=values"));
        assert!(federate("text/plain;escaping=nonsense").ends_with("escaping=underscores"));
    }

    #[test]
    fn metrics_follow_the_q_values() {
        let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
        assert_eq!(metrics(SCRAPE_ACCEPT), openmetrics);
        assert_eq!(metrics("application/openmetrics-text;q=0.2, text/plain;q=0.9"), TEXT);
        assert_eq!(metrics("text/plain;version=1.0.0, text/plain;q=0.5"), TEXT.replace("0.0.4", "1.0.0"));
        assert_eq!(metrics("application/openmetrics-text;q=0, */*;q=0.1"), TEXT);
        assert_eq!(metrics("application/openmetrics-text;version=2.0.0"), TEXT);
        assert_eq!(negotiate_metrics(None).content_type(), TEXT);
    }

    #[test]
    fn encodings_follow_the_q_values() {
        assert_eq!(negotiate_encoding(None), Encoding::Identity);
        for (header, encoding) in [
            ("gzip", Encoding::Gzip),
            ("gzip;q=1.0", Encoding::Gzip),
            ("gzip, deflate, br, zstd", Encoding::Zstd),
            ("zstd;q=0.5, gzip;q=0.8", Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity),
            ("identity, gzip;q=0.5", Encoding::Identity),
            ("br, gzip;q=0.5", Encoding::Gzip),
            ("*", Encoding::Gzip),
            ("br", Encoding::Identity),
        ] {
            assert_eq!(negotiate_encoding(Some(header)), encoding, "{header}");
        }
    }
}
