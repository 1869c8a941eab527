//! Requests that go to the container as it is: stop, restart, signals. Removing it is the business of `removal`.

use std::str::FromStr;

use bollard::query_parameters::{
    KillContainerOptions, RestartContainerOptions, StopContainerOptions,
};
use nix::sys::signal::Signal;

use super::{Control, Error, wake_manager};
use crate::compose::Service;
use crate::manager::engine::{self, is_done, is_missing};
use crate::manager::marks::Mark;

/// The highest number of a signal (signal(7): SIGRTMAX on x86-64).
const LAST_SIGNAL: u8 = 64;

impl Control {
    /// Stops a service until `start` or the next boot.
    pub async fn stop(&self, service: &Service, grace: Option<i32>) -> Result<(), Error> {
        Mark::Stopped.set(&service.name, "").map_err(Error::Mark)?;
        let engine = self.engine(service).await?;
        let options = StopContainerOptions {
            t: grace,
            ..Default::default()
        };
        match engine
            .docker
            .stop_container(&service.container_name, Some(options))
            .await
        {
            // It does not run, which is what was asked for.
            Err(error) if is_done(&error) || is_missing(&error) => Ok(()),
            Err(error) => Err(engine.error(format!("stop {}", service.name), error).into()),
            Ok(()) => Ok(()),
        }
    }

    /// Takes back a stop: the manager starts the service again if it is to run.
    ///
    /// # Errors
    /// When the manager cannot be told.
    pub fn resume(&self, service: &Service) -> Result<(), Error> {
        Mark::Stopped.clear(&service.name).map_err(Error::Mark)?;
        wake_manager()
    }

    /// Stops and starts the container as it is.
    pub async fn restart(&self, service: &Service, grace: Option<i32>) -> Result<(), Error> {
        let engine = self.engine(service).await?;
        Mark::Stopped.clear(&service.name).map_err(Error::Mark)?;
        let options = RestartContainerOptions {
            t: grace,
            ..Default::default()
        };
        match engine
            .docker
            .restart_container(&service.container_name, Some(options))
            .await
        {
            Err(error) if is_missing(&error) => Err(Error::NoContainer(service.name.clone())),
            Err(error) => Err(engine
                .error(format!("restart {}", service.name), error)
                .into()),
            Ok(()) => Ok(()),
        }
    }

    /// Sends a signal to the service's main process. What becomes of a service that ends of it is said by its `restart`.
    pub async fn kill(&self, service: &Service, signal: &str) -> Result<(), Error> {
        let signal = signal_name(signal).ok_or_else(|| Error::WrongSignal(signal.to_owned()))?;
        let engine = self.engine(service).await?;
        let options = KillContainerOptions { signal };
        let sent = engine
            .docker
            .kill_container(&service.container_name, Some(options))
            .await;
        let Err(error) = sent else { return Ok(()) };
        if is_missing(&error) {
            return Err(Error::NoContainer(service.name.clone()));
        }
        let error: engine::Error = engine.error(format!("kill {}", service.name), error);
        match error.status() {
            Some(409) => Err(Error::NotRunning(service.name.clone())),
            _ => Err(error.into()),
        }
    }
}

/// As Docker takes it: `SIGHUP`, `HUP`, `hup` and `1` are one.
fn signal_name(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=LAST_SIGNAL)
            .contains(&number)
            .then(|| number.to_string());
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let name = format!("SIG{name}");
    Signal::from_str(&name).ok().map(|_| name)
}

#[cfg(test)]
mod tests {
    use super::signal_name;

    #[test]
    fn signals_have_names_and_numbers() {
        for hup in ["SIGHUP", "HUP", "sighup"] {
            assert_eq!(signal_name(hup).as_deref(), Some("SIGHUP"));
        }
        assert_eq!(signal_name("9").as_deref(), Some("9"));
        for wrong in ["", "SIG", "0", "65", "-9", "SIGNOTHING", "9 "] {
            assert_eq!(signal_name(wrong), None, "{wrong:?}");
        }
    }
}
