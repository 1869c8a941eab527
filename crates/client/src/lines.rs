//! Answers that go on: lines of JSON.

use api::problem::Problem;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::{Error, LARGEST, broken};

/// Lines of JSON as they come.
pub struct Lines {
    server: String,
    body: Incoming,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that hold no line end.
    searched: usize,
}

impl Lines {
    pub(crate) fn new(server: &str, body: Incoming) -> Self {
        Self {
            server: server.to_owned(),
            body,
            waiting: Vec::new(),
            searched: 0,
        }
    }

    /// The next one; `None` when the stream has ended. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks or the line is not what it should be.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        loop {
            let rest = &self.waiting[self.searched..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.waiting.drain(..=self.searched + end).collect();
                self.searched = 0;
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|error| self.strange(&line, &error));
            }
            self.searched = self.waiting.len();
            if self.searched > LARGEST {
                return Err(Error::Answer {
                    server: self.server.clone(),
                    what: format!("a line has more than {LARGEST} bytes"),
                });
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.waiting.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(broken(&self.server, error.into())),
            }
        }
    }

    /// A stream that cannot go on ends with a line that says why.
    fn strange(&self, line: &[u8], error: &serde_json::Error) -> Error {
        match serde_json::from_slice::<Problem>(line) {
            Ok(problem) => Error::Refused(problem),
            Err(_) => Error::Answer {
                server: self.server.clone(),
                what: error.to_string(),
            },
        }
    }
}
