//! The wire format: varints, tags, lengths.

/// Why bytes are no message.
pub type Wrong = &'static str;

/// One field as it lies in the bytes.
#[derive(Clone, Copy, Debug)]
pub enum Raw<'a> {
    Varint(u64),
    Fixed64(u64),
    /// No kind has one; it is only skipped.
    Fixed32,
    Bytes(&'a [u8]),
}

/// Reads the fields of one message.
pub struct Fields<'a>(pub &'a [u8]);

fn varint(bytes: &mut &[u8]) -> Result<u64, Wrong> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or("a number breaks off")?;
        *bytes = rest;
        if shift == 63 && *first > 1 {
            return Err("a number is too long");
        }
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long")
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Wrong> {
    let (head, rest) = bytes.split_at_checked(count).ok_or("a field breaks off")?;
    *bytes = rest;
    Ok(head)
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Result<(u32, Raw<'a>), Wrong> {
        let tag = varint(&mut self.0)?;
        let number = u32::try_from(tag >> 3).map_err(|_| "a field has no valid number")?;
        let raw = match tag & 7 {
            0 => Raw::Varint(varint(&mut self.0)?),
            1 => Raw::Fixed64(u64::from_le_bytes(take(&mut self.0, 8)?.try_into().map_err(|_| "a field breaks off")?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| "a field is too long")?;
                Raw::Bytes(take(&mut self.0, length)?)
            }
            5 => {
                take(&mut self.0, 4)?;
                Raw::Fixed32
            }
            _ => return Err("a field has an unknown wire type"),
        };
        Ok((number, raw))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Raw<'a>), Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.0 = &[];
        }
        Some(item)
    }
}

/// The numbers of a packed list.
pub fn packed(mut bytes: &[u8]) -> Result<Vec<u64>, Wrong> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(varint(&mut bytes)?);
    }
    Ok(all)
}

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_number(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

pub fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
