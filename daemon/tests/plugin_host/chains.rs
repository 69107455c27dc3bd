//! Several plugins of one hook: by `order`, then by name. `guest` and `zebra` do the same, and what comes out tells who came
//! first.

use serde_json::{Value, json};
use supamanager::domain::PluginChoices;
use supamanager::plugin_host::Hook;

use crate::access::{Answer, Fake};
use crate::guests::{Plugins, component, zebra};
use crate::{load, render_input, work_input};

/// Where the own name lies, of `guest` and of `zebra`.
const NAMES: [(&str, u32); 2] = [("guest", 16), ("zebra", 5000)];

/// Both plugins of a hook, each with an order of its own, made of what the address of its name gives.
fn both(hook: &str, orders: [u32; 2], export: impl Fn(&str, u32) -> String) -> Plugins {
    let plugins = Plugins::new();
    for ((name, address), order) in NAMES.into_iter().zip(orders) {
        let export = export(name, address);
        let bytes = if name == "guest" { component(hook, "", &export) } else { zebra(hook, &export) };
        plugins.add(name, hook, &format!("order = {order}"), &bytes);
    }
    plugins
}

/// Orders of `guest` and `zebra`, and who comes first.
const CASES: [([u32; 2], &str); 3] = [([10, 20], "guest"), ([20, 10], "zebra"), ([10, 10], "guest")];

#[tokio::test]
async fn each_renderer_sees_the_files_so_far() {
    for (orders, first) in CASES {
        // One file under the own name, of as many bytes as there were files, and one more.
        let plugins = both("render", orders, |_, address| {
            format!(
                "(func (export \"render\") (param i32 i32 i32 i32 i32 i32) (result i32)
                    (i32.store (i32.const 4096) (i32.const {address})) (i32.store (i32.const 4100) (i32.const 5))
                    (i32.store (i32.const 4104) (i32.const 420)) (i32.store (i32.const 4108) (i32.const 6000))
                    (i32.store (i32.const 4112) (i32.add (local.get 5) (i32.const 1)))
                    (drop (call $ok))
                    (i32.store (i32.const 2056) (i32.const 4096)) (i32.store (i32.const 2060) (i32.const 1)) (i32.const 2048))"
            )
        });
        let host = load(plugins.folder()).await.expect("they load");
        let files = host.render(&host.pins(&PluginChoices::default()), render_input()).await.expect("rendered");
        let length = |name: &str| files.iter().find(|file| file.path == name).map(|file| file.content.len());
        let second = if first == "guest" { "zebra" } else { "guest" };
        assert_eq!((files.len(), length(first), length(second)), (2, Some(1), Some(2)), "{orders:?}");
    }
}

#[tokio::test]
async fn each_admitter_sees_what_the_one_before_made_of_the_request() {
    for (orders, first) in CASES {
        let plugins = both("admit", orders, |name, _| {
            let words = format!("{{\\22name\\22:\\22{name}\\22}}");
            format!(
                "(data (i32.const 3000) \"{words}\")
                 (func (export \"admit\") (param i32 i32) (result i32)
                    (i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
                    (i32.store (i32.const 2060) (i32.const 3000)) (i32.store (i32.const 2064) (i32.const 16)) (i32.const 2048))"
            )
        });
        let host = load(plugins.folder()).await.expect("they load");
        let request = json!({"kind": "create", "organization": "default", "project": null, "wanted": {"name": "a"}});
        let admitted = host.admit(request).await.map(Value::Object).expect("admitted");
        let last = if first == "guest" { "zebra" } else { "guest" };
        assert_eq!(admitted, json!({ "name": last }), "{orders:?}");
    }
}

#[tokio::test]
async fn post_create_plugins_work_one_after_the_other() {
    for (orders, first) in CASES {
        let plugins = both("post-create", orders, |_, address| {
            format!(
                "(func (export \"run\") (param i32 i32) (result i32)
                    (i64.store (i32.const 2048) (i64.const 0)) (i32.store8 (i32.const 2056) (i32.const 1))
                    (i32.store (i32.const 2060) (i32.const {address})) (i32.store (i32.const 2064) (i32.const 5)) (i32.const 2048))
                 (func (export \"undo\") (param i32 i32 i32 i32 i32) (result i32)
                    (i64.store (i32.const 2048) (i64.const 0)) (i32.const 2048))"
            )
        });
        let host = load(plugins.folder()).await.expect("they load");
        let workers = host.workers(Hook::PostCreate, &host.pins(&PluginChoices::default())).await.expect("they are there");
        let mut said = Vec::new();
        for worker in &workers {
            said.push(
                host.work(worker, work_input(json!({})), Fake::answering(Answer::Silence)).await.expect("it works").summary,
            );
        }
        let second = if first == "guest" { "zebra" } else { "guest" };
        assert_eq!(said, [first, second], "{orders:?}");
    }
}
