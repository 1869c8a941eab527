//! A metadata service for tests: real HTTP on the loopback, with the headers that the real ones insist on.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Cloud;
use crate::cloud_init::Found;
use crate::cloud_init::fetch::{Client, Error};

/// What is answered to a question.
pub struct Rule {
    method: &'static str,
    path: Option<String>,
    body: String,
    wants: Option<(&'static str, String)>,
}

impl Rule {
    /// `body` for `GET path`.
    pub fn get(path: &str, body: &str) -> Self {
        Self {
            method: "GET",
            path: Some(path.to_owned()),
            body: body.to_owned(),
            wants: None,
        }
    }

    /// `body` for `PUT path`.
    pub fn put(path: &str, body: &str) -> Self {
        Self {
            method: "PUT",
            ..Self::get(path, body)
        }
    }

    /// `body` for `GET` of everything, as captive portals do.
    pub fn any(body: &str) -> Self {
        Self {
            path: None,
            ..Self::get("", body)
        }
    }

    /// Who does not send this header is told 401.
    pub fn wants(self, name: &'static str, value: &str) -> Self {
        Self {
            wants: Some((name, value.to_owned())),
            ..self
        }
    }
}

/// The service.
pub struct Fake(Vec<Rule>);

impl Fake {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    /// What `cloud` makes of it.
    pub fn ask(self, cloud: Cloud) -> Result<Option<Found>, Error> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = format!("http://{}/", listener.local_addr().unwrap());
        let rules = Arc::new(self.0);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let rules = Arc::clone(&rules);
                std::thread::spawn(move || serve(stream.unwrap(), &rules));
            }
        });
        let client = Client::direct();
        let limit = Instant::now() + Duration::from_secs(5);
        cloud.ask(&client, Some(&place), (limit, limit))
    }
}

/// Names and keys, in their order.
pub fn keys(found: &Found) -> Vec<(&str, &str)> {
    let keys = found.metadata.ssh_public_keys.iter();
    keys.map(|(name, key)| (name.as_str(), key.as_str()))
        .collect()
}

fn serve(mut stream: TcpStream, rules: &[Rule]) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    loop {
        let Some(Ok(first)) = lines.next() else {
            return;
        };
        let headers: Vec<String> = lines
            .by_ref()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .map(|line| line.to_ascii_lowercase())
            .collect();
        let (status, body) = answer(&first, &headers, rules);
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
    }
}

fn answer<'a>(first: &str, headers: &[String], rules: &'a [Rule]) -> (&'static str, &'a str) {
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let rule = rules
        .iter()
        .find(|rule| rule.method == method && rule.path.as_ref().is_none_or(|known| known == path));
    match rule {
        None => ("404 Not Found", ""),
        Some(rule) => {
            let is_allowed = rule.wants.as_ref().is_none_or(|(name, value)| {
                headers.contains(&format!("{name}: {}", value.to_ascii_lowercase()))
            });
            if is_allowed {
                ("200 OK", &rule.body)
            } else {
                ("401 Unauthorized", "")
            }
        }
    }
}
