//! Tells the firewall that names are answered here: only as long as it is told so, it leads questions to this host. Does not look whether they are: it is
//! run beside what answers, and by nothing else.

use std::path::Path;
use std::time::Duration;

use tokio::sync::watch;

use super::State;
use super::firewall::ALIVE;

/// How often it is told. The firewall believes it for five times as long, and it waits for nobody: neither Docker nor a slow look at the host may silence it.
const PERIOD: Duration = Duration::from_secs(5);

/// Tells it for as long as this is run. At once when the network has changed: its rules may be new.
pub async fn tell_alive(network: watch::Receiver<State>) {
    // Of the thread's network: the agent has but one.
    tell(
        &Path::new("/proc/thread-self/net/xt_recent").join(ALIVE),
        network,
    )
    .await;
}

async fn tell(list: &Path, mut network: watch::Receiver<State>) {
    loop {
        // Without the rules that ask for it, there is no such list.
        if list.exists() {
            std::fs::write(list, "+0.0.0.0").ok();
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            Ok(()) = network.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_told_whatever_the_network_does() {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join(ALIVE);
        let told = || {
            std::fs::read_to_string(&list)
                .ok()
                .filter(|text| !text.is_empty())
        };
        let state = watch::Sender::new(State::default());
        let (at, network) = (list.clone(), state.subscribe());
        let telling = tokio::spawn(async move { tell(&at, network).await });
        let wait = async |seconds| tokio::time::sleep(Duration::from_secs_f32(seconds)).await;
        wait(6.0).await;
        // No rules: no list.
        assert_eq!(told(), None);
        std::fs::write(&list, "").unwrap();
        state.send_modify(|state| state.mtu = 1500);
        wait(0.1).await;
        assert_eq!(told().as_deref(), Some("+0.0.0.0"));
        // A look that hangs says nothing of the network, and one that has ended says nothing ever.
        drop(state);
        for _ in 0..3 {
            std::fs::write(&list, "").unwrap();
            wait(5.1).await;
            assert_eq!(told().as_deref(), Some("+0.0.0.0"));
        }
        telling.abort();
        std::fs::write(&list, "").unwrap();
        wait(60.0).await;
        assert_eq!(told(), None);
    }
}
