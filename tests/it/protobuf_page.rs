//! A writer of delimited protobuf pages for tests: field by field, so that it can write what no program would.

/// A message being written.
#[derive(Clone, Default)]
pub(crate) struct Message(pub(crate) Vec<u8>);

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

impl Message {
    pub(crate) fn new() -> Message {
        Message::default()
    }

    fn tag(mut self, field: u32, wire_type: u64) -> Message {
        varint(&mut self.0, u64::from(field) << 3 | wire_type);
        self
    }

    pub(crate) fn number(self, field: u32, number: u64) -> Message {
        let mut message = self.tag(field, 0);
        varint(&mut message.0, number);
        message
    }

    pub(crate) fn signed(self, field: u32, number: i64) -> Message {
        self.number(field, zigzag(number))
    }

    pub(crate) fn float(self, field: u32, value: f64) -> Message {
        let mut message = self.tag(field, 1);
        message.0.extend_from_slice(&value.to_bits().to_le_bytes());
        message
    }

    pub(crate) fn bytes(self, field: u32, bytes: &[u8]) -> Message {
        let mut message = self.tag(field, 2);
        varint(&mut message.0, bytes.len() as u64);
        message.0.extend_from_slice(bytes);
        message
    }

    pub(crate) fn text(self, field: u32, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(self, field: u32, message: &Message) -> Message {
        self.bytes(field, &message.0)
    }

    /// Packed, as every program writes them.
    pub(crate) fn signed_list(self, field: u32, numbers: &[i64]) -> Message {
        let mut packed = Vec::new();
        numbers.iter().for_each(|number| varint(&mut packed, zigzag(*number)));
        self.bytes(field, &packed)
    }

    pub(crate) fn float_list(self, field: u32, values: &[f64]) -> Message {
        let packed: Vec<u8> = values.iter().flat_map(|value| value.to_bits().to_le_bytes()).collect();
        self.bytes(field, &packed)
    }

    /// A label of a metric or an exemplar.
    pub(crate) fn label(self, name: &str, value: &str) -> Message {
        self.message(1, &Message::new().text(1, name).text(2, value))
    }

    /// Bucket spans under `field`.
    pub(crate) fn spans(self, field: u32, spans: &[(i64, u64)]) -> Message {
        spans.iter().fold(self, |message, (offset, length)| {
            message.message(field, &Message::new().signed(1, *offset).number(2, *length))
        })
    }

    /// Classic buckets of a histogram: bound and cumulative count each.
    pub(crate) fn buckets(self, buckets: &[(f64, u64)]) -> Message {
        buckets.iter().fold(self, |message, (bound, count)| {
            message.message(3, &Message::new().number(1, *count).float(2, *bound))
        })
    }

    /// A `google.protobuf.Timestamp` under `field`.
    pub(crate) fn time(self, field: u32, seconds: i64, nanos: u64) -> Message {
        self.message(field, &Message::new().number(1, seconds as u64).number(2, nanos))
    }
}

/// The numbers of the types.
pub(crate) const COUNTER: u64 = 0;
pub(crate) const GAUGE: u64 = 1;
pub(crate) const SUMMARY: u64 = 2;
pub(crate) const UNTYPED: u64 = 3;
pub(crate) const HISTOGRAM: u64 = 4;
pub(crate) const GAUGE_HISTOGRAM: u64 = 5;

/// A family with a help text.
pub(crate) fn family(name: &str, kind: u64, metrics: &[Message]) -> Message {
    let head = Message::new().text(1, name).text(2, "help").number(3, kind);
    metrics.iter().fold(head, |family, metric| family.message(4, metric))
}

/// A metric's gauge.
pub(crate) fn gauge(value: f64) -> Message {
    Message::new().message(2, &Message::new().float(1, value))
}

/// A metric's histogram.
pub(crate) fn histogram(histogram: &Message) -> Message {
    Message::new().message(7, histogram)
}

/// An integer native histogram of schema 0 with three observations in buckets 1, 2 and 5.
pub(crate) fn native() -> Message {
    Message::new()
        .number(1, 4)
        .float(2, 21.5)
        .signed(5, 0)
        .float(6, 0.001)
        .number(7, 1)
        .spans(12, &[(1, 2), (2, 1)])
        .signed_list(13, &[1, 0, 0])
}

/// Families one behind the other, each behind its length.
pub(crate) fn page(families: &[Message]) -> Vec<u8> {
    let mut page = Vec::new();
    for family in families {
        varint(&mut page, family.0.len() as u64);
        page.extend_from_slice(&family.0);
    }
    page
}
