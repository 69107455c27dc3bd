//! The example of a plugin that works through a project's own gateway, with a key that it never sees: it makes the storage
//! buckets that the project's options name (`{"plugins": {"post-create-buckets": {"buckets": [{"name": "avatars"}]}}}`).

use serde::Deserialize;
use serde_json::{Value, json};
use supamanager_plugin::service_http::{Request, Response};
use supamanager_plugin::{AccessError, Error, Outcome, PostCreator, export_post_creator, options, progress, service_http};

/// Where a stack's gateway listens inside of its network.
const GATEWAY: (&str, u16) = ("kong", 8000);
/// Limit of one request: a hundred of them fit into the two minutes of the hook, if the gateway is well.
const DEADLINE_MS: u32 = 10_000;
/// When to try again after a gateway or a storage that is away.
const RETRY_MS: u64 = 2_000;

#[derive(Deserialize)]
struct Options {
    #[serde(default)]
    buckets: Vec<Bucket>,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
    #[serde(default)]
    public: bool,
}

struct PostCreateBuckets;

impl PostCreator for PostCreateBuckets {
    fn run(_context: &str) -> Result<Outcome, Error> {
        make_all(&options::get(), progress::report, send)
    }

    /// The buckets lie in the project's own database and volumes and go with them.
    fn undo(_context: &str, _outcome: Outcome) -> Result<(), Error> {
        Ok(())
    }
}

export_post_creator!(PostCreateBuckets);

fn send(method: &str, path: &str, body: Option<Value>) -> Result<Response, AccessError> {
    let mut headers = vec![
        ("apikey".to_owned(), "${SERVICE_ROLE_KEY}".to_owned()),
        ("authorization".to_owned(), "Bearer ${SERVICE_ROLE_KEY}".to_owned()),
    ];
    headers.extend(body.as_ref().map(|_| ("content-type".to_owned(), "application/json".to_owned())));
    service_http::send(&Request {
        service: GATEWAY.0.to_owned(),
        port: GATEWAY.1,
        method: method.to_owned(),
        path: path.to_owned(),
        headers,
        body: body.map(|body| body.to_string().into_bytes()).unwrap_or_default(),
        deadline_ms: DEADLINE_MS,
    })
}

fn make_all(
    options: &str,
    say: impl Fn(&str),
    send: impl Fn(&str, &str, Option<Value>) -> Result<Response, AccessError>,
) -> Result<Outcome, Error> {
    let options: Options =
        serde_json::from_str(options).map_err(|error| Error::InvalidInput(format!("the options cannot be read: {error}")))?;
    let (count, mut made) = (options.buckets.len(), 0);
    for (number, bucket) in options.buckets.iter().enumerate() {
        say(&format!("bucket {} of {count}: {}", number + 1, bucket.name));
        made += u32::from(make(bucket, &send)?);
    }
    Ok(Outcome { changed: made > 0, summary: format!("{made} of {count} buckets made, the others were there") })
}

/// Whether it was made; one that is there already stays as it is, so that a second run changes nothing.
fn make(bucket: &Bucket, send: &impl Fn(&str, &str, Option<Value>) -> Result<Response, AccessError>) -> Result<bool, Error> {
    let name = &bucket.name;
    let explain = |error: AccessError| match error {
        AccessError::Refused(_) | AccessError::TimedOut(_) => Error::RetryAfter(RETRY_MS),
        AccessError::Denied(words) => Error::Denied(words),
        AccessError::Failed(words) => Error::Failed(words),
    };
    let there = send("GET", &format!("/storage/v1/bucket/{name}"), None).map_err(explain)?;
    if there.status == 200 {
        return Ok(false);
    }
    let body = json!({"id": name, "name": name, "public": bucket.public});
    let answer = send("POST", "/storage/v1/bucket", Some(body)).map_err(explain)?;
    match answer.status {
        200 | 201 => Ok(true),
        // Somebody was faster. Upstream's storage says it as a 400 whose body has the 409 (storage-api, renderer of errors).
        409 => Ok(false),
        400 if text(&answer).contains("\"409\"") || text(&answer).contains("Duplicate") => Ok(false),
        502..=504 => Err(Error::RetryAfter(RETRY_MS)),
        status => Err(Error::Failed(format!("bucket `{name}`: storage answered {status}: {}", text(&answer)))),
    }
}

fn text(answer: &Response) -> String {
    String::from_utf8_lossy(&answer.body).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    const TWO: &str = r#"{"buckets": [{"name": "avatars", "public": true}, {"name": "files"}]}"#;

    fn answer(status: u16, body: &str) -> Result<Response, AccessError> {
        Ok(Response { status, headers: Vec::new(), body: body.as_bytes().to_vec() })
    }

    #[test]
    fn what_is_not_there_is_made_and_what_is_there_stays() {
        let asked = RefCell::new(Vec::new());
        let outcome = make_all(
            TWO,
            |_| {},
            |method, path, body| {
                asked.borrow_mut().push(format!("{method} {path} {}", body.clone().unwrap_or_default()));
                answer(
                    if path.ends_with("avatars") {
                        200
                    } else if method == "GET" {
                        404
                    } else {
                        200
                    },
                    "",
                )
            },
        );
        let outcome = outcome.expect("it ends well");
        assert_eq!((outcome.changed, outcome.summary.as_str()), (true, "1 of 2 buckets made, the others were there"));
        let made = r#"POST /storage/v1/bucket {"id":"files","name":"files","public":false}"#;
        assert_eq!(asked.into_inner(), ["GET /storage/v1/bucket/avatars null", "GET /storage/v1/bucket/files null", made]);
    }

    #[test]
    fn a_bucket_that_somebody_made_meanwhile_is_there() {
        let outcome = make_all(
            TWO,
            |_| {},
            |method, _, _| match method {
                "GET" => answer(404, ""),
                _ => answer(400, r#"{"statusCode":"409","error":"Duplicate"}"#),
            },
        );
        assert!(!outcome.expect("it ends well").changed);
    }

    #[test]
    fn what_is_away_is_tried_again_and_a_refusal_is_told() {
        let away = make_all(TWO, |_| {}, |_, _, _| Err(AccessError::Refused("not yet".to_owned())));
        assert!(matches!(away, Err(Error::RetryAfter(RETRY_MS))));
        let refused = make_all(TWO, |_| {}, |method, _, _| if method == "GET" { answer(404, "") } else { answer(403, "no") });
        assert!(matches!(refused, Err(Error::Failed(words)) if words.contains("avatars") && words.contains("403")));
        assert!(!make_all("{}", |_| {}, |_, _, _| panic!("nothing to ask")).expect("nothing to do").changed);
    }
}
