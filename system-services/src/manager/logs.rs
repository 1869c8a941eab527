//! Logs of services, line by line, as `ros service logs` prints them: `<service>_1 | <text>`.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures_util::{StreamExt, stream::select_all};

use super::control::{Control, Error};
use super::engine::is_missing;
use crate::compose::Service;

/// How much of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// At most so many lines of what is there.
    pub lines: u32,
    /// Go on with what comes.
    pub follow: bool,
}

/// Hands each line of the services' logs to `print`, which says whether it wants more.
pub async fn read(
    control: &Control,
    services: &[&Service],
    extent: Extent,
    mut print: impl FnMut(&str) -> bool,
) -> Result<(), Error> {
    let mut streams = Vec::new();
    for service in services {
        let engine = control.engine(service).await?;
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            follow: extent.follow,
            tail: extent.lines.to_string(),
            ..Default::default()
        };
        let name = service.name.clone();
        let docker = engine.docker.clone();
        let container = service.container_name.clone();
        let stream = async_stream(docker, container, options)
            .map(move |part| (name.clone(), engine.clone(), part));
        streams.push(Box::pin(stream));
    }
    let mut lines = std::collections::BTreeMap::<String, Lines>::new();
    let mut all = select_all(streams);
    while let Some((service, engine, part)) = all.next().await {
        let part = match part {
            Ok(part) => part,
            Err(error) if is_missing(&error) => return Err(Error::NoContainer(service)),
            Err(error) => {
                return Err(engine
                    .error(format!("read the log of {service}"), error)
                    .into());
            }
        };
        let complete = lines.entry(service.clone()).or_default().add(part.as_ref());
        if !complete
            .into_iter()
            .all(|line| print(&format!("{service}_1 | {line}")))
        {
            return Ok(());
        }
    }
    for (service, rest) in lines {
        if !rest.0.is_empty() {
            print(&format!(
                "{service}_1 | {}",
                String::from_utf8_lossy(&rest.0)
            ));
        }
    }
    Ok(())
}

/// Owns the client, which bollard's own stream borrows.
fn async_stream(
    docker: bollard::Docker,
    container: String,
    options: LogsOptions,
) -> impl futures_util::Stream<Item = Result<LogOutput, bollard::errors::Error>> {
    docker.logs(&container, Some(options))
}

/// What has come of a line that is not complete.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    fn add(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let rest = self.0.split_off(end + 1);
        let complete = std::mem::replace(&mut self.0, rest);
        String::from_utf8_lossy(&complete)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn parts_become_lines() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"a\nb"), ["a"]);
        assert_eq!(lines.add(b"c\r\n\nd"), ["bc", ""]);
        assert_eq!(lines.0, b"d");
    }
}
