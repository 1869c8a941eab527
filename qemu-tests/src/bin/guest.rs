//! The one small static program that goes into guests: as the content of test images, and as the bench's prober.
//! Owns nothing outside its own process. Works in an empty root.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

/// The user's Docker.
const SOCKET: &str = "/var/run/docker.sock";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["http", port, text] => serve(port, text),
        ["fetch", name, port] => fetch(name, port),
        ["idle"] => idle(),
        ["print", text] => {
            println!("{text}");
            Ok(())
        }
        ["cat", file] => show(file),
        ["write", file, text] => std::fs::write(file, text),
        ["probe", user] => probe(user),
        ["as", user, words @ ..] => run_as(user, words),
        _ => Err(std::io::Error::other(
            "usage: guest http PORT TEXT | fetch NAME PORT | idle | print TEXT | cat FILE | write FILE TEXT | probe USER",
        )),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guest: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Answers every HTTP request with `text`.
fn serve(port: &str, text: &str) -> std::io::Result<()> {
    let port: u16 = port.parse().map_err(std::io::Error::other)?;
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("serving on {port}");
    for stream in listener.incoming() {
        // A client that connects and leaves is none of the server's trouble.
        drop(answer(stream?, text));
    }
    Ok(())
}

/// Reads the whole head of a request first: a connection that is closed with unread bytes is reset, and its answer may be lost by that.
fn answer(stream: TcpStream, text: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut head = BufReader::new(stream.try_clone()?).take(8192);
    let mut line = String::new();
    while head.read_line(&mut line)? > 0 && !line.trim_end().is_empty() {
        line.clear();
    }
    let length = text.len();
    let answer = format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{text}");
    (&stream).write_all(answer.as_bytes())
}

/// Prints what the HTTP server of a name answers, headers left out.
fn fetch(name: &str, port: &str) -> std::io::Result<()> {
    let port: u16 = port.parse().map_err(std::io::Error::other)?;
    let mut stream = TcpStream::connect((name, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET / HTTP/1.0\r\nHost: {name}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    println!("{}", body.unwrap_or(&answer));
    Ok(())
}

fn idle() -> std::io::Result<()> {
    println!("idle");
    loop {
        std::thread::park();
    }
}

fn show(file: &str) -> std::io::Result<()> {
    std::io::stdout().write_all(&std::fs::read(file)?)
}

/// Says on the console when Docker's API answers, and when `docker version`, run as `user`, succeeds.
/// A connection attempt every 20 ms costs next to nothing; the command line client, which costs much, runs once the API is there.
fn probe(user: &str) -> std::io::Result<()> {
    while !api_answers() {
        std::thread::sleep(Duration::from_millis(20));
    }
    announce("PROBE api")?;
    let own = std::env::current_exe()?;
    loop {
        let version = ["docker", "version", "--format", "{{.Server.Version}}"];
        let output = Command::new(&own).args(["as", user]).args(version).output();
        if let Ok(output) = output
            && output.status.success()
        {
            let version = String::from_utf8_lossy(&output.stdout);
            return announce(&format!("PROBE docker-version {}", version.trim()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Writes one line to the serial console. It is opened anew each time: a getty that starts hangs up all who have it open.
fn announce(text: &str) -> std::io::Result<()> {
    let open = |path| OpenOptions::new().write(true).open(path);
    // A container may lack the serial port's node; what goes to the kernel log at level 0 reaches the console as well.
    let (mut console, start) = match open("/dev/ttyS0") {
        Ok(console) => (console, "\r\n"),
        Err(_) => (open("/dev/kmsg")?, "<0>"),
    };
    console.write_all(format!("{start}{text}\r\n").as_bytes())
}

/// Becomes `user` and then the program `words`.
fn run_as(user: &str, words: &[&str]) -> std::io::Result<()> {
    become_user(user)?;
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| std::io::Error::other("no program"))?;
    Err(Command::new(program).args(arguments).exec())
}

fn api_answers() -> bool {
    let Ok(mut stream) = UnixStream::connect(SOCKET) else {
        return false;
    };
    // `HTTP/1.0 200 OK`, or 1.1.
    let mut answer = [0_u8; 15];
    // Under systemd the socket is there before dockerd: the answer comes when dockerd does.
    let asked = stream
        .write_all(b"GET /_ping HTTP/1.0\r\n\r\n")
        .and_then(|()| stream.read_exact(&mut answer));
    asked.is_ok() && answer.ends_with(b" 200 OK")
}

/// Takes on the user and groups that a login of `user` has.
fn become_user(user: &str) -> std::io::Result<()> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let fields = entry
        .into_iter()
        .find(|fields| fields.first() == Some(&user));
    let fields = fields.ok_or_else(|| std::io::Error::other(format!("no user {user}")))?;
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<u32>().ok());
    let (Some(uid), Some(gid)) = (number(2), number(3)) else {
        return Err(std::io::Error::other(format!("malformed entry of {user}")));
    };
    let mut groups = vec![Gid::from_raw(gid)];
    groups.extend(groups_of(user, &std::fs::read_to_string("/etc/group")?));
    setgroups(&groups)?;
    setgid(Gid::from_raw(gid))?;
    setuid(Uid::from_raw(uid))?;
    Ok(())
}

fn groups_of(user: &str, file: &str) -> Vec<Gid> {
    let mut groups = Vec::new();
    for line in file.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        if let [_, _, number, members] = fields.as_slice()
            && members.split(',').any(|member| member == user)
            && let Ok(number) = number.parse()
        {
            groups.push(Gid::from_raw(number));
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_those_that_name_the_user() {
        let file = "root:x:0:\ndocker:x:110:a,rancher\nsudo:x:27:rancher\nother:x:5:ranch\n";
        assert_eq!(
            groups_of("rancher", file),
            [Gid::from_raw(110), Gid::from_raw(27)]
        );
    }
}
