//! Cuts what comes into lines; unpacks it before, when it is packed. Pure. Whoever sends cannot make it hold more than the longest line: it is
//! unpacked piece by piece, and not beyond the line that is asked for.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};
use flate2::{Decompress, FlushDecompress};

use crate::LARGEST;

/// Bytes that are unpacked at a time.
const PIECE: usize = 16 << 10;

/// What has come and was not given out as lines.
pub struct Splitter {
    unpacker: Option<Decompress>,
    /// As it has come.
    packed: VecDeque<Bytes>,
    /// The unpacker may hold more than was asked of it.
    is_more: bool,
    plain: Vec<u8>,
    /// Bytes of `plain` that hold no line end.
    searched: usize,
}

impl Splitter {
    /// For what is as it is.
    pub fn plain() -> Self {
        Self {
            unpacker: None,
            packed: VecDeque::new(),
            is_more: false,
            plain: Vec::new(),
            searched: 0,
        }
    }

    /// For HTTP's content coding `deflate` (RFC 9110 section 8.4.1.2).
    pub fn deflate() -> Self {
        Self {
            unpacker: Some(Decompress::new(true)),
            ..Self::plain()
        }
    }

    /// Takes what has come.
    pub fn take(&mut self, data: Bytes) {
        self.packed.push_back(data);
    }

    /// The next line with its end, if it has come whole.
    pub fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            let rest = &self.plain[self.searched..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let rest = self.plain.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.plain, rest)));
            }
            self.searched = self.plain.len();
            if self.searched > LARGEST {
                return Err(format!("a line has more than {LARGEST} bytes"));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Makes more of what has come plain; false: there is no more.
    fn advance(&mut self) -> Result<bool, String> {
        while self.packed.front().is_some_and(Bytes::is_empty) {
            self.packed.pop_front();
        }
        let Some(unpacker) = &mut self.unpacker else {
            let next = self.packed.pop_front();
            self.plain.extend_from_slice(next.as_deref().unwrap_or(&[]));
            return Ok(next.is_some());
        };
        if self.packed.is_empty() && !self.is_more {
            return Ok(false);
        }
        let (mut nothing, mut piece) = (Bytes::new(), [0; PIECE]);
        let input = self.packed.front_mut().unwrap_or(&mut nothing);
        let before = (unpacker.total_in(), unpacker.total_out());
        unpacker
            .decompress(input, &mut piece, FlushDecompress::None)
            .map_err(|error| format!("it cannot be unpacked: {error}"))?;
        let taken = count(unpacker.total_in() - before.0);
        let made = count(unpacker.total_out() - before.1);
        if taken == 0 && made == 0 && !input.is_empty() {
            return Err("it goes on after its end".into());
        }
        input.advance(taken);
        self.is_more = made == PIECE;
        self.plain.extend_from_slice(&piece[..made]);
        Ok(true)
    }
}

/// Of one call: no more than a piece, or what came at a time.
fn count(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::ZlibEncoder;
    use std::io::Write;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.flush().unwrap();
        encoder.get_ref().clone()
    }

    fn lines(mut splitter: Splitter, parts: &[&[u8]]) -> Vec<String> {
        let mut all = Vec::new();
        for part in parts {
            splitter.take(Bytes::copy_from_slice(part));
            while let Some(line) = splitter.line().unwrap() {
                all.push(String::from_utf8(line).unwrap());
            }
        }
        all
    }

    #[test]
    fn lines_come_however_they_are_cut() {
        let long = format!("{}\n", "ab".repeat(3 * PIECE));
        let text = format!("one\n\n{long}two\nhalf");
        let expected = ["one\n", "\n", &long, "two\n"];
        let packed = packed(text.as_bytes());
        assert!(packed.len() < 500);
        for cut in 0..packed.len() {
            let (one, other) = packed.split_at(cut);
            assert_eq!(lines(Splitter::deflate(), &[one, other]), expected, "{cut}");
        }
        let bytes: Vec<&[u8]> = packed.chunks(1).collect();
        assert_eq!(lines(Splitter::deflate(), &bytes), expected);
        for cut in [0, 1, 3, 4, 5, 6, 100, text.len()] {
            let (one, other) = text.as_bytes().split_at(cut);
            assert_eq!(lines(Splitter::plain(), &[one, other]), expected, "{cut}");
        }
    }

    #[test]
    fn what_was_read_takes_no_memory() {
        let text = [vec![b'x'; 1 << 20], b"\nrest".to_vec()].concat();
        let mut splitter = Splitter::deflate();
        splitter.take(packed(&text).into());
        assert_eq!(splitter.line().unwrap().unwrap().len(), (1 << 20) + 1);
        assert_eq!(splitter.line().unwrap(), None);
        assert!(splitter.plain.capacity() <= 2 * PIECE);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let bomb = packed(&vec![b' '; LARGEST + (8 << 20)]);
        assert!(bomb.len() < LARGEST / 500);
        let mut splitter = Splitter::deflate();
        splitter.take(bomb.into());
        let refused = splitter.line().unwrap_err();
        assert!(refused.contains("more than"), "{refused}");
        assert!(splitter.plain.len() <= LARGEST + PIECE);
        let mut splitter = Splitter::plain();
        splitter.take(vec![b' '; LARGEST + 1].into());
        assert!(splitter.line().is_err());
    }

    #[test]
    fn many_lines_are_unpacked_as_they_are_asked_for() {
        let mut splitter = Splitter::deflate();
        splitter.take(packed(&b"\n".repeat(16 << 20)).into());
        for _ in 0..100 {
            assert_eq!(splitter.line().unwrap().unwrap(), b"\n");
        }
        assert!(splitter.plain.len() <= PIECE);
    }

    #[test]
    fn what_is_not_packed_is_refused() {
        let mut splitter = Splitter::deflate();
        splitter.take(Bytes::from_static(b"{\"type\":\"alive\"}\n"));
        assert!(splitter.line().unwrap_err().contains("unpacked"));
        // A whole zlib stream, and something after it.
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"a\n").unwrap();
        let mut splitter = Splitter::deflate();
        splitter.take(
            [encoder.finish().unwrap(), b"more".to_vec()]
                .concat()
                .into(),
        );
        assert_eq!(splitter.line().unwrap().unwrap(), b"a\n");
        let after = splitter.line().unwrap_err();
        assert!(after.contains("after its end"), "{after}");
    }
}
