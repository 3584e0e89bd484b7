//! Cuts a byte stream into lines.

/// One watch event may be this long; a longer line is not an event of ours.
const MAX_LINE: usize = 16 << 20;

#[derive(Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes a chunk and calls `each` with every complete line. An overlong line is an error.
    pub fn push(&mut self, chunk: &[u8], mut each: impl FnMut(&[u8])) -> Result<(), String> {
        let mut chunk = chunk;
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            if self.rest.is_empty() {
                each(&chunk[..end]);
            } else {
                self.rest.extend_from_slice(&chunk[..end]);
                each(&std::mem::take(&mut self.rest));
            }
            chunk = &chunk[end + 1..];
        }
        if self.rest.len() + chunk.len() > MAX_LINE {
            return Err(format!("a line of more than {MAX_LINE} bytes"));
        }
        self.rest.extend_from_slice(chunk);
        Ok(())
    }

    /// What is left without a line end.
    pub fn rest(&self) -> &[u8] {
        &self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let text = b"one\n\ntwo\nthree";
        for size in 1..=text.len() {
            let (mut lines, mut seen) = (Lines::default(), Vec::new());
            for chunk in text.chunks(size) {
                lines.push(chunk, |line| seen.push(line.to_vec())).unwrap();
            }
            assert_eq!(seen, [b"one".to_vec(), b"".to_vec(), b"two".to_vec()], "chunks of {size}");
            assert_eq!(lines.rest(), b"three");
        }
    }
}
