//! `supamanager project update`: shows the plan, then has exactly that done.

use std::process::ExitCode;

use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::choices::ChoiceArgs;
use super::client::Client;

/// What is to change.
#[derive(Args)]
pub struct UpdateArgs {
    /// The project's id.
    id: String,
    /// Another name.
    #[arg(long)]
    name: Option<String>,
    /// Another image set.
    #[arg(long)]
    image_set: Option<String>,
    /// Another template set.
    #[arg(long)]
    template_set: Option<String>,
    /// A service to switch on; may be given several times.
    #[arg(long = "on", value_name = "SERVICE")]
    on: Vec<String>,
    /// A service to switch off; its data stays.
    #[arg(long = "off", value_name = "SERVICE")]
    off: Vec<String>,
    #[command(flatten)]
    plugins: ChoiceArgs,
    /// Cores over all services, such as 1.0 or 500m; none is no limit.
    #[arg(long)]
    cpu: Option<String>,
    /// Memory over all services, such as 2GB or 2GiB; none is no limit.
    #[arg(long)]
    memory: Option<String>,
    /// What its folder may hold, such as 10GB; none is no limit.
    #[arg(long)]
    storage: Option<String>,
    /// Only show what would happen.
    #[arg(long)]
    plan: bool,
}

/// Shows the plan; unless that is all, sends it back and returns what was accepted.
///
/// # Errors
/// The daemon's own sentence.
pub async fn update(client: &Client, args: UpdateArgs) -> anyhow::Result<Result<Value, ExitCode>> {
    let path = format!("/platform/projects/{}", args.id);
    let given = [("name", &args.name), ("image_set", &args.image_set), ("template_set", &args.template_set)];
    let mut body: Map<String, Value> =
        given.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))).collect();
    let switches = args.on.iter().map(|name| (name.clone(), json!(true)));
    let switches: Map<String, Value> = switches.chain(args.off.iter().map(|name| (name.clone(), json!(false)))).collect();
    body.insert("services".to_owned(), Value::Object(switches));
    body.insert("plugins".to_owned(), Value::Object(args.plugins.as_json()?));
    let amounts = [("cpu", &args.cpu), ("memory", &args.memory), ("storage", &args.storage)];
    let resources: Map<String, Value> =
        amounts.into_iter().filter_map(|(key, value)| Some((key.to_owned(), json!(value.as_ref()?)))).collect();
    if !resources.is_empty() {
        body.insert("resources".to_owned(), Value::Object(resources));
    }
    let body = Value::Object(body);
    let plan = client.json(Method::PATCH, &format!("{path}?plan=true"), Some(body.clone())).await?;
    print(&plan);
    if args.plan {
        return Ok(Err(ExitCode::SUCCESS));
    }
    let accepted = client.json_if_match(&path, &body, plan["hash"].as_str().unwrap_or_default()).await?;
    if accepted["operation_id"].is_null() {
        println!("{}", accepted["status"].as_str().unwrap_or_default());
        return Ok(Err(ExitCode::SUCCESS));
    }
    Ok(Ok(accepted))
}

fn print(plan: &Value) {
    let list = |key: &str| plan[key].as_array().cloned().unwrap_or_default();
    let words = |values: &Value| {
        let words = values.as_array().into_iter().flatten();
        words.filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
    };
    for change in list("changes") {
        let field = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
        println!("{:<10} {:<12} {}", field("action"), field("service"), words(&change["reasons"]));
    }
    for (what, key) in [("store", "stored"), ("add", "added")] {
        if !list(key).is_empty() {
            println!("{what:<10} {}", words(&plan[key]));
        }
    }
    if let (Some(needed), Some(free)) = (plan["snapshot"]["needed_bytes"].as_u64(), plan["snapshot"]["free_bytes"].as_u64()) {
        println!(
            "{:<10} the data, up to {} MiB of {} MiB that are free; everything stops for it",
            "copy",
            needed >> 20,
            free >> 20
        );
    }
    if list("changes").is_empty() && list("stored").is_empty() {
        println!("nothing would change");
    }
}
