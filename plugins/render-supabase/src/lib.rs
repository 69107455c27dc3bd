//! The renderer of the shipped template sets: one minijinja render per wanted file. It knows no service and
//! no file by name; what is rendered is decided by the set's `set.toml` and its templates, which may include
//! and import each other.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use supamanager_plugin::{Error, File, Renderer, Wanted, export_renderer, templates};

struct RenderSupabase;

impl Renderer for RenderSupabase {
    fn render(context: &str, wanted: Vec<Wanted>, _so_far: Vec<File>) -> Result<Vec<File>, Error> {
        render_all(context, wanted, templates::read)
    }
}

export_renderer!(RenderSupabase);

fn render_all(
    context: &str,
    wanted: Vec<Wanted>,
    read: impl Fn(&str) -> Result<String, Error> + Send + Sync + 'static,
) -> Result<Vec<File>, Error> {
    let context: serde_json::Value =
        serde_json::from_str(context).map_err(|error| Error::InvalidInput(format!("the context is no JSON: {error}")))?;
    let mut environment = Environment::new();
    // A name that is missing or misspelt must never become an empty string in somebody's stack.
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    // None of the formats is HTML; strings enter YAML through `tojson`.
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_loader(move |name| match read(name) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(minijinja::Error::new(ErrorKind::TemplateNotFound, words(error))),
    });
    wanted.into_iter().map(|file| render_one(&environment, &context, file)).collect()
}

fn render_one(environment: &Environment, context: &serde_json::Value, file: Wanted) -> Result<File, Error> {
    let content = (environment.get_template(&file.template))
        .and_then(|template| template.render(Serde(context)))
        .map_err(|error| Error::InvalidInput(place(&file.template, &error)))?;
    Ok(File { path: file.path, mode: file.mode, content })
}

/// `template kong.tmpl.yml, line 12: undefined value: ...`, with the template that really holds the line.
fn place(template: &str, error: &minijinja::Error) -> String {
    let name = error.name().unwrap_or(template);
    let line = error.line().map(|line| format!(", line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    format!("template {name}{line}: {}{detail}", error.kind())
}

fn words(error: Error) -> String {
    match error {
        Error::InvalidInput(words) | Error::Denied(words) | Error::Failed(words) => words,
        Error::RetryAfter(ms) => format!("not ready, again in {ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &'static str) -> Result<String, Error> {
        let wanted = vec![Wanted { template: "a.yml".into(), path: "out.yml".into(), mode: 0o644 }];
        let read = move |name: &str| match name {
            "a.yml" => Ok(template.to_owned()),
            "part" => Ok("part of {{ project.name }}".to_owned()),
            other => Err(Error::InvalidInput(format!("the set has no template `{other}`"))),
        };
        let context = r#"{"project": {"name": "It's <\"é\">"}, "ports": {"api": 54000}}"#;
        render_all(context, wanted, read).map(|mut files| files.remove(0).content)
    }

    fn refusal(template: &'static str) -> String {
        match render(template) {
            Err(Error::InvalidInput(words)) => words,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    #[test]
    fn strings_enter_yaml_through_tojson_and_read_back_the_same() {
        let text = render("name: {{ project.name|tojson }}").unwrap();
        let read: String = serde_json::from_str(text.strip_prefix("name: ").unwrap()).unwrap();
        assert_eq!(read, "It's <\"é\">");
    }

    #[test]
    fn references_to_secrets_pass_untouched() {
        assert_eq!(render("JWT: ${JWT_SECRET}:{{ ports.api }}").unwrap(), "JWT: ${JWT_SECRET}:54000");
    }

    #[test]
    fn nothing_is_escaped_behind_the_authors_back() {
        assert_eq!(render("{{ project.name }}").unwrap(), "It's <\"é\">");
    }

    #[test]
    fn templates_include_each_other() {
        assert_eq!(render("{% include 'part' %}!").unwrap(), "part of It's <\"é\">!");
    }

    #[test]
    fn a_missing_name_is_refused_with_template_and_line() {
        let words = refusal("one\n{{ project.nmae }}");
        assert!(words.contains("a.yml, line 2") && words.contains("undefined"), "{words}");
    }

    #[test]
    fn a_syntax_error_is_refused_with_template_and_line() {
        let words = refusal("one\ntwo\n{% if %}");
        assert!(words.contains("a.yml, line 3"), "{words}");
    }

    #[test]
    fn a_missing_template_is_refused_by_name() {
        let words = refusal("{% include 'nowhere' %}");
        assert!(words.contains("a.yml, line 1") && words.contains("nowhere"), "{words}");
        let wanted = vec![Wanted { template: "b.yml".into(), path: "b.yml".into(), mode: 0o644 }];
        let top = render_all("{}", wanted, |name| Err(Error::InvalidInput(format!("no template `{name}`"))));
        assert!(matches!(top, Err(Error::InvalidInput(words)) if words.contains("no template `b.yml`")));
    }

    #[test]
    fn a_context_that_is_no_json_is_refused() {
        assert!(matches!(render_all("{", Vec::new(), |_| Ok(String::new())), Err(Error::InvalidInput(_))));
    }
}
