//! Header values that a target or a reader sends: Content-Type, Accept, Accept-Encoding, Retry-After.
//!
//! Promise: what a negotiation answers, its own Content-Type reader reads back as the same format.

use fedgate::exposition::{Format, format_of_content_type, negotiate_encoding, negotiate_federate, negotiate_metrics};
use fedgate::model::Timestamp;
use fedgate::net::retry_after;
use fedgate::push::protocol::is_supported;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER};

/// Takes the input for each of these headers in turn.
pub(crate) fn run(input: &[u8]) {
    let header = String::from_utf8_lossy(input);
    let _ = format_of_content_type(Some(&header), None);
    let _ = is_supported(&header);
    let _ = negotiate_encoding(Some(&header));
    for negotiated in [negotiate_federate(Some(&header)), negotiate_metrics(Some(&header))] {
        let content_type = negotiated.content_type();
        // Protobuf is told from the other formats before, see the scraper.
        if negotiated.format != Format::Protobuf {
            assert_eq!(format_of_content_type(Some(&content_type), None), Ok(negotiated.format), "{content_type}");
        }
    }
    if let Ok(value) = HeaderValue::from_bytes(input) {
        let _ = retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value)]), Timestamp(1_795_000_000_000));
    }
}
