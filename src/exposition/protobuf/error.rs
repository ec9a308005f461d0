//! What is wrong with a refused protobuf page: at which byte, of which message and field, and what.

use std::fmt;

/// A protobuf page that was refused, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {offset}, {message}{}{field}: {fault}", Dot(field))]
pub struct ProtobufError {
    /// From the page's start.
    pub offset: usize,
    /// The message's name in `metrics.proto`.
    pub message: &'static str,
    /// The field's name there; empty where no known field is at fault.
    pub field: &'static str,
    /// What was found and what was expected.
    pub fault: ProtobufFault,
}

impl ProtobufError {
    /// Whether a label's text is at fault, which ends a page before the sample counts as read; what else is wrong with
    /// labels ends it afterwards.
    pub fn is_of_label_text(&self) -> bool {
        matches!(self.fault, ProtobufFault::Utf8(_) | ProtobufFault::LabelName(_))
    }
}

/// What was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufFault {
    /// A number or a fixed-width value goes on behind its message.
    #[error("the message ends within a value")]
    Truncated,
    /// More than ten bytes, or more than five of a family's length.
    #[error("number longer than {0} bytes")]
    NumberTooLong(usize),
    /// A length that leads out of the message around it.
    #[error("length {length}, expected at most the {left} bytes that are left")]
    Length {
        /// As it stands there.
        length: u64,
        /// Of the message around it.
        left: usize,
    },
    /// A known field with another encoding.
    #[error("wire type {found}, expected {expected}")]
    WireType {
        /// As it stands there.
        found: u8,
        /// The field's.
        expected: u8,
    },
    /// A wire type that protobuf does not have, or the end of a group that did not begin.
    #[error("wire type {0}, expected 0, 1, 2, 3 or 5")]
    NoWireType(u8),
    /// A field's number is zero or above what protobuf allows.
    #[error("field number {0}, expected 1 to 536870911")]
    FieldNumber(u64),
    /// Groups within groups.
    #[error("groups nested deeper than {0}")]
    Depth(usize),
    /// More than a metric may have.
    #[error("more than {0}")]
    TooMany(usize),
    /// The family's name is empty or not UTF-8.
    #[error("{0:?}, expected a metric name in UTF-8")]
    MetricName(String),
    /// Text that is not UTF-8.
    #[error("{0:?}, expected text in UTF-8")]
    Utf8(String),
    /// A label name that is empty or not UTF-8.
    #[error("{0:?}, expected a label name in UTF-8")]
    LabelName(String),
    /// A label with a value and no name.
    #[error("a value without a name, expected both")]
    LabelNameMissing,
    /// A label that the sample has already.
    #[error("label {0:?} twice, expected once")]
    LabelTwice(String),
    /// A number that is none of the six types'.
    #[error("type {0}, expected 0 to 5")]
    MetricType(i32),
    /// A unit that does not end the family's name.
    #[error("unit {unit:?} of {name:?}, expected one that ends the name after an underscore")]
    Unit {
        /// As it stands there.
        unit: String,
        /// The family's.
        name: String,
    },
}

/// The dot between a message and a field, where there is a field.
struct Dot<'a>(&'a str);

impl fmt::Display for Dot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "" } else { "." })
    }
}

/// How many bytes of a page an error quotes.
const QUOTE_BYTES_MAX: usize = 60;

/// A text of the page for a person, cut.
pub(super) fn quote(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(QUOTE_BYTES_MAX)]).into_owned()
}
