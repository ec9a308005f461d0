//! Protobuf messages taken apart by number, without a schema: what a test needs to look into a page that it did not write.

/// One message; fields as they come.
#[derive(Clone, Debug)]
pub(crate) struct Message<'a> {
    fields: Vec<(u64, Field<'a>, &'a [u8])>,
}

#[derive(Clone, Copy, Debug)]
enum Field<'a> {
    Number,
    Bytes(&'a [u8]),
}

/// The messages of a page, each behind its length.
pub(crate) fn delimited(mut page: &[u8]) -> Vec<Message<'_>> {
    let mut messages = Vec::new();
    while !page.is_empty() {
        let length = take_varint(&mut page) as usize;
        let (message, rest) = page.split_at_checked(length).expect("a message as long as it says");
        messages.push(Message::of(message));
        page = rest;
    }
    messages
}

fn take_varint(bytes: &mut &[u8]) -> u64 {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first().expect("a whole varint");
        number |= u64::from(byte & 0x7f) << shift;
        (*bytes, shift) = (rest, shift + 7);
        if byte & 0x80 == 0 {
            return number;
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(count).expect("a whole field");
    *bytes = rest;
    taken
}

impl<'a> Message<'a> {
    fn of(mut bytes: &'a [u8]) -> Message<'a> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let whole = bytes;
            let tag = take_varint(&mut bytes);
            let field = match tag & 7 {
                0 => {
                    take_varint(&mut bytes);
                    Field::Number
                }
                1 => {
                    take(&mut bytes, 8);
                    Field::Number
                }
                2 => {
                    let length = take_varint(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length))
                }
                other => panic!("wire type {other}"),
            };
            fields.push((tag >> 3, field, &whole[..whole.len() - bytes.len()]));
        }
        Message { fields }
    }

    /// A text field; empty where there is none.
    pub(crate) fn text(&self, number: u64) -> &'a str {
        let mut texts = self.fields.iter().filter(|(own, ..)| *own == number).filter_map(|(_, field, _)| match field {
            Field::Bytes(bytes) => Some(std::str::from_utf8(bytes).expect("UTF-8")),
            Field::Number => None,
        });
        texts.next().unwrap_or_default()
    }

    /// The messages in a field.
    pub(crate) fn messages(&self, number: u64) -> impl Iterator<Item = Message<'a>> + '_ {
        self.fields.iter().filter(move |(own, ..)| *own == number).filter_map(|(_, field, _)| match field {
            Field::Bytes(bytes) => Some(Message::of(bytes)),
            Field::Number => None,
        })
    }

    /// The bytes of one field, all its occurrences.
    pub(crate) fn field(&self, number: u64) -> Vec<u8> {
        self.fields.iter().filter(|(own, ..)| *own == number).flat_map(|(.., bytes)| bytes.to_vec()).collect()
    }

    /// All bytes but those of some fields.
    pub(crate) fn without(&self, numbers: &[u64]) -> Vec<u8> {
        self.fields.iter().filter(|(own, ..)| !numbers.contains(own)).flat_map(|(.., bytes)| bytes.to_vec()).collect()
    }
}
