//! Protobuf's wire form: fields of a message, one after the other.
//!
//! | wire type | value |
//! |---|---|
//! | 0 | a number of seven bits a byte, the lowest first |
//! | 1 | eight bytes, the lowest first |
//! | 2 | a length and as many bytes: text, a message, or packed numbers |
//! | 3, 4 | begin and end of a group: passed over |
//! | 5 | four bytes: no known field has them, passed over |
//!
//! Invariant: [`Fields`] never leaves its message, and each step moves it on, so reading ends.

use super::error::{ProtobufError, ProtobufFault};

/// Longest number.
const NUMBER_BYTES_MAX: usize = 10;
/// Longest number of a family's length, as in Prometheus.
const FAMILY_LENGTH_BYTES_MAX: usize = 5;
/// Groups within groups that are followed; nobody has sent one since 2008.
const GROUP_DEPTH_MAX: usize = 32;
/// Of a field's number.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// A message of `metrics.proto`, by name and the names of its fields in the order of their numbers.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) message: &'static str,
    pub(super) fields: &'static [&'static str],
}

/// A piece of the page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Range {
    #[inline]
    pub(super) fn of(self, page: &[u8]) -> &[u8] {
        &page[self.start..self.end]
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Fixed64(u64),
    Bytes(Range),
    /// Of a wire type that no known field has.
    Foreign(u8),
}

/// One field of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// Where its tag stands.
    pub(super) at: usize,
    pub(super) value: Value,
    schema: &'static Schema,
}

/// The fields of a message, in the order in which they stand.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a> {
    page: &'a [u8],
    at: usize,
    end: usize,
    schema: &'static Schema,
}

impl<'a> Fields<'a> {
    pub(super) fn new(page: &'a [u8], range: Range, schema: &'static Schema) -> Fields<'a> {
        Fields { page, at: range.start, end: range.end, schema }
    }

    /// The next field; `None` at the message's end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field>, ProtobufError> {
        if self.at == self.end {
            return Ok(None);
        }
        let at = self.at;
        let tag = self.number(NUMBER_BYTES_MAX, 0)?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(self.error(at, 0, ProtobufFault::FieldNumber(number)));
        }
        let number = number as u32;
        let value = self.value(number, (tag & 7) as u8, 0)?;
        Ok(Some(Field { number, at, value, schema: self.schema }))
    }

    #[inline]
    fn value(&mut self, number: u32, wire_type: u8, depth: usize) -> Result<Value, ProtobufError> {
        let at = self.at;
        match wire_type {
            0 => Ok(Value::Number(self.number(NUMBER_BYTES_MAX, number)?)),
            1 => {
                let bytes = self.take(8, number)?.of(self.page);
                Ok(Value::Fixed64(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"))))
            }
            2 => {
                let length = self.number(NUMBER_BYTES_MAX, number)?;
                Ok(Value::Bytes(self.take(length, number)?))
            }
            3 => self.pass_group(number, depth).map(|()| Value::Foreign(wire_type)),
            5 => self.take(4, number).map(|_| Value::Foreign(wire_type)),
            _ => Err(self.error(at, number, ProtobufFault::NoWireType(wire_type))),
        }
    }

    /// Passes over the fields of a group up to its end.
    #[cold]
    fn pass_group(&mut self, group: u32, depth: usize) -> Result<(), ProtobufError> {
        if depth == GROUP_DEPTH_MAX {
            return Err(self.error(self.at, group, ProtobufFault::Depth(GROUP_DEPTH_MAX)));
        }
        loop {
            let tag = self.number(NUMBER_BYTES_MAX, group)?;
            if tag & 7 == 4 {
                return Ok(());
            }
            self.value(group, (tag & 7) as u8, depth + 1)?;
        }
    }

    /// A number; its bits beyond 64 are lost, as in Prometheus.
    #[inline]
    fn number(&mut self, bytes_max: usize, field: u32) -> Result<u64, ProtobufError> {
        let rest = &self.page[self.at..self.end];
        if let Some(byte) = rest.first().filter(|byte| **byte < 0x80) {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        self.long_number(bytes_max, field)
    }

    fn long_number(&mut self, bytes_max: usize, field: u32) -> Result<u64, ProtobufError> {
        let mut number = 0;
        for (nth, byte) in self.page[self.at..self.end].iter().take(bytes_max).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * nth);
            if *byte < 0x80 {
                self.at += nth + 1;
                return Ok(number);
            }
        }
        let is_cut = self.end - self.at < bytes_max;
        let fault = if is_cut { ProtobufFault::Truncated } else { ProtobufFault::NumberTooLong(bytes_max) };
        Err(self.error(self.at, field, fault))
    }

    #[inline]
    fn take(&mut self, length: u64, field: u32) -> Result<Range, ProtobufError> {
        let left = self.end - self.at;
        if length > left as u64 {
            return Err(self.error(self.at, field, ProtobufFault::Length { length, left }));
        }
        let start = self.at;
        self.at += length as usize;
        Ok(Range { start, end: self.at })
    }

    #[cold]
    fn error(&self, offset: usize, field: u32, fault: ProtobufFault) -> ProtobufError {
        self.schema.error(offset, field, fault)
    }
}

/// What the page itself is: families behind their lengths.
static PAGE: Schema = Schema { message: "page", fields: &[] };

/// The message whose length stands at `at`.
pub(super) fn delimited(page: &[u8], at: usize) -> Result<Range, ProtobufError> {
    let mut fields = Fields { page, at, end: page.len(), schema: &PAGE };
    let length = fields.number(FAMILY_LENGTH_BYTES_MAX, 0)?;
    fields.take(length, 0)
}

/// Numbers of a packed field, one after the other.
pub(super) struct Packed<'a>(Fields<'a>, Field);

impl Packed<'_> {
    /// The next number; `None` at the field's end.
    pub(super) fn next(&mut self) -> Result<Option<u64>, ProtobufError> {
        if self.0.at == self.0.end { Ok(None) } else { self.0.number(NUMBER_BYTES_MAX, self.1.number).map(Some) }
    }
}

impl Schema {
    #[cold]
    pub(super) fn error(&'static self, offset: usize, field: u32, fault: ProtobufFault) -> ProtobufError {
        let field = (field as usize).checked_sub(1).and_then(|at| self.fields.get(at)).copied().unwrap_or_default();
        ProtobufError { offset, message: self.message, field, fault }
    }
}

impl Field {
    /// Its value as a number.
    #[inline]
    pub(super) fn number(self) -> Result<u64, ProtobufError> {
        match self.value {
            Value::Number(number) => Ok(number),
            _ => Err(self.wrong_type(0)),
        }
    }

    /// Its value as a float; every NaN keeps its bits.
    #[inline]
    pub(super) fn float(self) -> Result<f64, ProtobufError> {
        match self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(self.wrong_type(1)),
        }
    }

    /// Its value as text or a message.
    #[inline]
    pub(super) fn bytes(self) -> Result<Range, ProtobufError> {
        match self.value {
            Value::Bytes(range) => Ok(range),
            _ => Err(self.wrong_type(2)),
        }
    }

    /// Its value as numbers where they are packed; `None` where it is a single one.
    pub(super) fn packed(self, page: &[u8]) -> Option<Packed<'_>> {
        match self.value {
            Value::Bytes(range) => Some(Packed(Fields::new(page, range, self.schema), self)),
            _ => None,
        }
    }

    #[cold]
    fn wrong_type(self, expected: u8) -> ProtobufError {
        let found = match self.value {
            Value::Number(_) => 0,
            Value::Fixed64(_) => 1,
            Value::Bytes(_) => 2,
            Value::Foreign(wire_type) => wire_type,
        };
        self.fault(ProtobufFault::WireType { found, expected })
    }

    /// An error at this field.
    #[cold]
    pub(super) fn fault(self, fault: ProtobufFault) -> ProtobufError {
        self.schema.error(self.at, self.number, fault)
    }
}

/// The signed number of a zigzag one.
#[inline]
pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The same of 32 bits, the lower half of the number.
#[inline]
pub(super) fn unzigzag32(number: u64) -> i32 {
    unzigzag(number & u64::from(u32::MAX)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    static MESSAGE: Schema = Schema { message: "Message", fields: &["first", "second"] };

    fn read(bytes: &[u8]) -> Result<Vec<(u32, Value)>, String> {
        let mut fields = Fields::new(bytes, Range { start: 0, end: bytes.len() }, &MESSAGE);
        let mut read = Vec::new();
        while let Some(field) = fields.next().map_err(|error| error.to_string())? {
            read.push((field.number, field.value));
        }
        Ok(read)
    }

    #[test]
    fn every_wire_type_is_read_or_passed_over() {
        let bytes = [
            &[0x08, 0xac, 0x02][..],
            &[0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f],
            &[0x1a, 2, b'h', b'i'],
            &[0x23, 0x2b, 0x08, 1, 0x2c, 0x24],
            &[0x2d, 1, 2, 3, 4],
        ]
        .concat();
        let one = 1.0f64.to_bits();
        assert_eq!(
            read(&bytes).unwrap(),
            [
                (1, Value::Number(300)),
                (2, Value::Fixed64(one)),
                (3, Value::Bytes(Range { start: 14, end: 16 })),
                (4, Value::Foreign(3)),
                (5, Value::Foreign(5)),
            ]
        );
    }

    #[test]
    fn what_leads_out_of_the_message_is_refused_with_its_place() {
        for (bytes, said) in [
            (&[0x08][..], "byte 1, Message.first: the message ends within a value"),
            (&[0x12, 3, 0, 0], "byte 2, Message.second: length 3, expected at most the 2 bytes that are left"),
            (&[0x11, 0], "byte 1, Message.second: length 8, expected at most the 1 bytes that are left"),
            (&[0x00, 0], "byte 0, Message: field number 0, expected 1 to 536870911"),
            (&[0x0c], "byte 1, Message.first: wire type 4, expected 0, 1, 2, 3 or 5"),
            (&[0x0f], "byte 1, Message.first: wire type 7, expected 0, 1, 2, 3 or 5"),
            (&[0xff; 11], "byte 0, Message: number longer than 10 bytes"),
        ] {
            assert_eq!(read(bytes), Err(said.to_owned()), "{bytes:?}");
        }
        assert_eq!(read(&[0x0b; 100]).unwrap_err(), "byte 33, Message.first: groups nested deeper than 32");
    }

    #[test]
    fn zigzag_numbers_are_signed() {
        assert_eq!([0, 1, 2, u64::MAX].map(unzigzag), [0, -1, 1, i64::MIN]);
    }
}
