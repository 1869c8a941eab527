//! Reads an agent's stream as cheaply as it can be: a frame comes packed, the same bytes to every host, so it is unpacked and looked into
//! once, when the first host gets it; the others compare bytes. That keeps the processors for the server.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use flate2::{Decompress, FlushDecompress};
use memchr::memmem;

use crate::Outcome;

/// Before the nanoseconds in the name of a container that is a marked change.
const MARK: &[u8] = b"\"name\":\"chg-";
/// Every packed frame ends so: an empty block of RFC 1951 that is stored as it is.
const END: &[u8] = &[0, 0, 0xff, 0xff];
/// What a stream begins with, bytes.
const HEAD: usize = 2;
/// Frames are told apart by their length and so many bytes; then by all of them.
const KEY: usize = 24;
/// Largest frame, unpacked.
const LARGEST: usize = 64 << 20;

/// What a frame says.
#[derive(Debug)]
pub enum Step {
    /// Everything.
    Whole { store: String, revision: u64 },
    /// What has changed, with the marks in it.
    Changes { from: u64, to: u64, marks: Vec<u64> },
    /// Nothing new; the store's history may have another name now.
    Alive {
        revision: u64,
        store: Option<String>,
    },
    /// Not about the state.
    Other,
}

type Known = Vec<(Box<[u8]>, Arc<Step>)>;

/// All frames that any host has got.
#[derive(Default)]
pub struct Frames(RwLock<HashMap<(usize, [u8; KEY]), Known>>);

impl Frames {
    /// What a packed frame says; `None`: it is not a whole frame.
    fn read(&self, packed: &[u8]) -> Outcome<Option<Arc<Step>>> {
        let mut key = (packed.len(), [0; KEY]);
        let begin = packed.len().min(KEY);
        key.1[..begin].copy_from_slice(&packed[..begin]);
        let find = |known: &Known| {
            let same = known.iter().find(|(bytes, _)| **bytes == *packed)?;
            Some(Arc::clone(&same.1))
        };
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = known.get(&key).and_then(find) {
            return Ok(Some(step));
        }
        drop(known);
        let Some(step) = unpack(packed)?.as_deref().map(look).transpose()? else {
            return Ok(None);
        };
        let step = Arc::new(step);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = known.entry(key).or_default();
        same.push((packed.into(), Arc::clone(&step)));
        Ok(Some(step))
    }
}

/// `None`: it ends in the middle of a line.
fn unpack(packed: &[u8]) -> Outcome<Option<Vec<u8>>> {
    let mut text = Vec::with_capacity(packed.len() * 8 + 1024);
    let mut inflate = Decompress::new(false);
    loop {
        let left = &packed[usize::try_from(inflate.total_in())?..];
        inflate.decompress_vec(left, &mut text, FlushDecompress::Sync)?;
        if text.len() < text.capacity() {
            return Ok((text.last() == Some(&b'\n')).then_some(text));
        }
        if text.len() > LARGEST {
            return Err("a frame is too large".into());
        }
        text.reserve(text.len());
    }
}

fn look(line: &[u8]) -> Outcome<Step> {
    let head = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
    let number = |name: &str| -> Outcome<u64> {
        let rest = head.split_once(name).ok_or("no number")?.1;
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        Ok(digits.parse()?)
    };
    let kind = head.split('"').nth(3).unwrap_or_default();
    Ok(match kind {
        "whole" => Step::Whole {
            store: head.split('"').nth(7).ok_or("no store")?.to_owned(),
            revision: number("\"revision\":")?,
        },
        "changes" => Step::Changes {
            from: number("\"from\":")?,
            to: number("\"to\":")?,
            marks: marks(line),
        },
        "alive" => Step::Alive {
            revision: number("\"revision\":")?,
            store: head.split('"').nth(9).map(str::to_owned),
        },
        _ => Step::Other,
    })
}

fn marks(line: &[u8]) -> Vec<u64> {
    let places = memmem::find_iter(line, MARK);
    let number = |place: usize| {
        let rest = &line[place + MARK.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    };
    places.map(number).collect()
}

/// One host's stream, cut into frames.
#[derive(Default)]
pub struct Stream {
    waiting: Vec<u8>,
    is_begun: bool,
    /// Bytes of `waiting` that hold no end of a frame.
    searched: usize,
}

impl Stream {
    /// Takes what has come.
    pub fn take(&mut self, data: &[u8]) {
        self.waiting.extend_from_slice(data);
        if !self.is_begun && self.waiting.len() >= HEAD {
            self.waiting.drain(..HEAD);
            self.is_begun = true;
        }
    }

    /// The frames that have come whole.
    pub fn frames(&mut self, known: &Frames) -> Outcome<Vec<Arc<Step>>> {
        let (mut steps, mut done) = (Vec::new(), 0);
        while self.is_begun {
            let rest = &self.waiting[done..];
            let Some(end) = end(rest, self.searched) else {
                self.searched = rest.len().saturating_sub(END.len() - 1);
                break;
            };
            match known.read(&rest[..end])? {
                Some(step) => {
                    steps.push(step);
                    (done, self.searched) = (done + end, 0);
                }
                // What looks like an end is something else.
                None => self.searched = end,
            }
        }
        self.waiting.drain(..done);
        Ok(steps)
    }
}

/// Where the first frame may end.
fn end(packed: &[u8], searched: usize) -> Option<usize> {
    match packed {
        // Stored as it is, with its length.
        [0, low, high, _, _, ..] => {
            let length = 5 + usize::from(u16::from_le_bytes([*low, *high]));
            (packed.len() >= length).then_some(length)
        }
        [0, ..] => None,
        _ => memmem::find(packed.get(searched..)?, END).map(|place| searched + place + END.len()),
    }
}
