//! Fetches images from registries. Which and when is the business of others.

use bollard::auth::DockerCredentials;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;

use super::engine::Engine;

/// An image that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot pull {image}")]
pub struct Error {
    image: String,
    #[source]
    source: bollard::errors::Error,
}

/// Fetches an image and hands each line of progress that is worth one to `told`.
pub async fn pull(
    engine: &Engine,
    image: &str,
    credentials: Option<DockerCredentials>,
    mut told: impl FnMut(&str),
) -> Result<(), Error> {
    let options = CreateImageOptions {
        from_image: Some(with_tag(image)),
        ..Default::default()
    };
    let stream = engine.docker.create_image(Some(options), None, credentials);
    let mut progress = Box::pin(stream);
    while let Some(message) = progress.next().await {
        let message = message.map_err(|source| Error {
            image: image.to_owned(),
            source,
        })?;
        if let Some(line) = line(&message) {
            told(&line);
        }
    }
    Ok(())
}

/// What Docker says of a layer or of the whole; not how many bytes have come.
fn line(message: &CreateImageInfo) -> Option<String> {
    let counting = message
        .progress_detail
        .as_ref()
        .is_some_and(|detail| detail.current.is_some());
    let status = message.status.as_deref().filter(|_| !counting)?;
    Some(match &message.id {
        Some(id) => format!("{id}: {status}"),
        None => status.to_owned(),
    })
}

/// Without a tag Docker would fetch all of them.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tag_is_fetched() {
        let all = ["web", "web:2", "reg.test:5000/web", "web@sha256:0"];
        assert_eq!(
            all.map(with_tag),
            [
                "web:latest",
                "web:2",
                "reg.test:5000/web:latest",
                "web@sha256:0"
            ]
        );
    }

    #[test]
    fn progress_is_told_without_the_counting() {
        let told = |json: serde_json::Value| line(&serde_json::from_value(json).unwrap());
        let layer =
            serde_json::json!({"id": "a1", "status": "Pull complete", "progressDetail": {}});
        assert_eq!(told(layer).as_deref(), Some("a1: Pull complete"));
        let bytes = serde_json::json!({"id": "a1", "status": "Downloading", "progressDetail": {"current": 1, "total": 2}});
        assert_eq!(told(bytes), None);
        let whole = serde_json::json!({"status": "Digest: sha256:0"});
        assert_eq!(told(whole).as_deref(), Some("Digest: sha256:0"));
    }
}
