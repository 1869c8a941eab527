//! Frames as they go over the wire: each packed once, whoever it is sent to. Pure.
//!
//! The body of an agent's stream has HTTP's content coding `deflate` (RFC 9110 section 8.4.1.2): [`HEAD`], then each frame as whole blocks
//! of RFC 1951 that end at a byte and refer to nothing before them. So any frames, one after the other, are a stream.

use std::io::{BufWriter, Write};

use api::agent::Frame;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::http::lines::line;

/// Name of the content coding.
pub const CODING: &str = "deflate";
/// What a stream begins with: the head of RFC 1950, for a window of 32 KiB.
pub const HEAD: &[u8] = &[0x78, 0x9c];
/// Shorter lines are not worth the work.
const SHORT: usize = 128;
/// Texts that are packed at a time, bytes.
const TOGETHER: usize = 64 << 10;

/// A line of JSON that is given in pieces.
pub fn pack<'t>(pieces: impl IntoIterator<Item = &'t str>) -> Bytes {
    let encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let mut writer = BufWriter::with_capacity(TOGETHER, encoder);
    // Into memory, which takes everything.
    for piece in pieces {
        writer.write_all(piece.as_bytes()).ok();
    }
    writer.flush().ok();
    std::mem::take(writer.get_mut().get_mut()).into()
}

/// A frame.
pub fn pack_frame(frame: &Frame) -> Bytes {
    let line = line(frame);
    match u16::try_from(line.len()) {
        Ok(length) if line.len() < SHORT => stored(&line, length),
        // What JSON is made of.
        _ => pack(std::str::from_utf8(&line)),
    }
}

/// RFC 1951 section 3.2.4: a block that is not the last one, as it is.
fn stored(line: &[u8], length: u16) -> Bytes {
    let mut block = Vec::with_capacity(5 + line.len());
    block.push(0);
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&(!length).to_le_bytes());
    block.extend_from_slice(line);
    block.into()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    /// What an agent reads of it.
    pub fn unpack(frames: &[Bytes]) -> Vec<Frame> {
        let stream = [&[Bytes::from_static(HEAD)], frames].concat().concat();
        let mut text = Vec::with_capacity(1 << 20);
        Decompress::new(true)
            .decompress_vec(&stream, &mut text, FlushDecompress::Sync)
            .unwrap();
        assert_eq!(text.last(), Some(&b'\n'), "all of it is there");
        text.split_inclusive(|byte| *byte == b'\n')
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn any_frames_are_a_stream() {
        let alive = Frame::Alive {
            revision: 7,
            store: None,
        };
        let urls = (0..50).map(|number| format!("https://server-{number}.example:6440"));
        let servers = Frame::Servers {
            urls: urls.collect(),
        };
        let (short, long) = (pack_frame(&alive), pack_frame(&servers));
        assert_eq!(short.len(), 5 + line(&alive).len());
        assert!(long.len() * 4 < line(&servers).len(), "{}", long.len());
        let sent = [&long, &short, &short, &long, &long].map(Bytes::clone);
        let expected = [&servers, &alive, &alive, &servers, &servers].map(Frame::clone);
        assert_eq!(unpack(&sent), expected);
    }
}
