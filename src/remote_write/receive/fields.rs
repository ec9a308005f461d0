//! The fields of a protobuf message, borrowed from its bytes.
//!
//! Invariant: every step moves on and stays within the message, so reading ends, and nothing is allocated for what a length claims.

use super::fault::RequestFault;

/// A field's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
    /// Four bytes: no known field has them.
    Foreign,
}

/// One field; `end` is how many bytes of the message stand before what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    pub(super) value: Value<'a>,
    pub(super) end: usize,
}

/// The fields of a message in their order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { message, at: 0 }
    }

    /// The next field; `None` at the message's end.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Field<'a>>, RequestFault> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Fixed(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes were taken"))),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Foreign)?,
            _ => return Err(RequestFault::Malformed("wire type")),
        };
        if tag >> 3 == 0 {
            return Err(RequestFault::Malformed("field number"));
        }
        Ok(Some(Field { number: tag >> 3, value, end: self.at }))
    }

    /// A number of seven bits a byte, at most ten bytes.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, RequestFault> {
        let mut number = 0;
        for nth in 0..10 {
            let byte = *self.message.get(self.at).ok_or(RequestFault::Malformed("end in a number"))?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << (7 * nth);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(RequestFault::Malformed("number of over ten bytes"))
    }

    /// Whether the message is over.
    pub(super) fn is_over(&self) -> bool {
        self.at == self.message.len()
    }

    /// The message's first `end` bytes.
    pub(super) fn before(&self, end: usize) -> &'a [u8] {
        &self.message[..end]
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], RequestFault> {
        let rest = &self.message[self.at..];
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let taken = rest.get(..length).ok_or(RequestFault::Malformed("length beyond the end"))?;
        self.at += length;
        Ok(taken)
    }
}

impl<'a> Value<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], RequestFault> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(RequestFault::Malformed("wire type of a message")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, RequestFault> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RequestFault::Malformed("text that is not UTF-8"))
    }

    pub(super) fn double(self) -> Result<f64, RequestFault> {
        match self {
            Value::Fixed(bits) => Ok(f64::from_bits(bits)),
            _ => Err(RequestFault::Malformed("wire type of a double")),
        }
    }

    pub(super) fn integer(self) -> Result<u64, RequestFault> {
        match self {
            Value::Number(number) => Ok(number),
            _ => Err(RequestFault::Malformed("wire type of a number")),
        }
    }
}

/// Folds a zigzag number back.
pub(super) fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
