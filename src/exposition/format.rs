//! The page formats and their media types.

use super::escaping::Escaping;

/// A page format that is read and written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text 0.0.4, what every exporter and every reader knows.
    Text,
    /// Text 1.0.0: the same grammar, the version promises that quoted UTF-8 names are understood.
    Text1,
    /// OpenMetrics 1.0 text.
    OpenMetrics,
    /// `io.prometheus.client.MetricFamily` messages, each behind its length: no lines, and a reader and writer of its own.
    Protobuf,
}

impl Format {
    /// The Content-Type header, spelled as Prometheus 3 spells it.
    pub fn content_type(self, escaping: Escaping) -> String {
        let media_type = match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::Text1 => "text/plain; version=1.0.0; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        };
        format!("{media_type}; escaping={}", escaping.as_str())
    }
}

/// Why a scraped page's format is not known; the scrape fails, as in Prometheus 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// No header, or an empty one.
    #[error(
        "no Content-Type, expected text/plain, application/openmetrics-text or application/vnd.google.protobuf, or a \
         fallback_scrape_protocol"
    )]
    Missing,
    /// A header that is no media type with parameters.
    #[error("cannot read Content-Type {0:?}, expected type/subtype; name=value")]
    Malformed(String),
    /// Another media type.
    #[error(
        "unsupported Content-Type {0:?}, expected text/plain, application/openmetrics-text or \
         application/vnd.google.protobuf, or a fallback_scrape_protocol"
    )]
    Unsupported(String),
}

/// The format that a target's Content-Type header declares. Where the header is missing or of no use, `fallback`
/// decides, and where there is none the page is refused unread: guessing would turn an error page into an empty one.
pub fn format_of_content_type(header: Option<&str>, fallback: Option<Format>) -> Result<Format, ContentTypeError> {
    declared_format(header).or_else(|error| fallback.ok_or(error))
}

fn declared_format(header: Option<&str>) -> Result<Format, ContentTypeError> {
    let header = header.filter(|header| !header.is_empty()).ok_or(ContentTypeError::Missing)?;
    let mut parts = header.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
    let parameters: Vec<_> = parts.filter(|part| !part.is_empty()).map(|part| part.split_once('=')).collect();
    if !media_type.contains('/') || media_type.contains(char::is_whitespace) || parameters.contains(&None) {
        return Err(ContentTypeError::Malformed(header.to_owned()));
    }
    let is_version_1 = || parameters.contains(&Some(("version", "1.0.0")));
    match media_type.as_str() {
        "text/plain" if is_version_1() => Ok(Format::Text1),
        "text/plain" => Ok(Format::Text),
        "application/openmetrics-text" => Ok(Format::OpenMetrics),
        "application/vnd.google.protobuf" => Ok(Format::Protobuf),
        _ => Err(ContentTypeError::Unsupported(header.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_formats() {
        for (header, format) in [
            ("text/plain", Format::Text),
            ("TEXT/plain;version=0.0.4", Format::Text),
            ("text/plain; version=0.0.4; charset=utf-8; escaping=underscores;", Format::Text),
            ("text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8", Format::Text1),
            ("application/openmetrics-text; version=0.0.1", Format::OpenMetrics),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                Format::Protobuf,
            ),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format::OpenMetrics),
        ] {
            assert_eq!(format_of_content_type(Some(header), None), Ok(format), "{header}");
        }
    }

    #[test]
    fn other_pages_need_a_fallback() {
        let refusal = |header| format_of_content_type(header, None).unwrap_err();
        assert_eq!(refusal(None), ContentTypeError::Missing);
        assert_eq!(refusal(Some("")), ContentTypeError::Missing);
        assert_eq!(refusal(Some("text/html")), ContentTypeError::Unsupported("text/html".to_owned()));
        assert_eq!(refusal(Some("plain; x")), ContentTypeError::Malformed("plain; x".to_owned()));
        for header in [None, Some("text/html"), Some("text/plain; nonsense")] {
            assert_eq!(format_of_content_type(header, Some(Format::Text)), Ok(Format::Text));
        }
    }
}
