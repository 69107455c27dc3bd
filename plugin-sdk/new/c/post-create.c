// Makes a schema of its own in the project's database, and takes it back.
#include "post_create.h"

// When to try again after a database that is away or busy: RETRY_MS.
enum { DEADLINE_MS = 10000, RETRY_MS = 2000 };

void exports_post_create_describe(post_create_description_t *ret) {
    post_create_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    post_create_string_set(&ret->version, "0.1.0");
    post_create_string_set(&ret->summary, "Makes a schema of its own in the project's database");
}

static bool execute(const char *statement, supamanager_plugin_sql_access_error_t *error) {
    post_create_string_t service, role, text;
    post_create_string_set(&service, "db");
    post_create_string_set(&role, "postgres");
    post_create_string_set(&text, statement);
    uint64_t rows;
    return supamanager_plugin_sql_execute(&service, &role, &text, DEADLINE_MS, &rows, error);
}

static void again_if_away(const supamanager_plugin_sql_access_error_t *error, post_create_error_t *err) {
    switch (error->tag) {
    case SUPAMANAGER_PLUGIN_TYPES_ACCESS_ERROR_REFUSED:
    case SUPAMANAGER_PLUGIN_TYPES_ACCESS_ERROR_TIMED_OUT:
        err->tag = SUPAMANAGER_PLUGIN_TYPES_ERROR_RETRY_AFTER;
        err->val.retry_after = RETRY_MS;
        break;
    case SUPAMANAGER_PLUGIN_TYPES_ACCESS_ERROR_DENIED:
        err->tag = SUPAMANAGER_PLUGIN_TYPES_ERROR_DENIED;
        err->val.denied = error->val.denied;
        break;
    default:
        err->tag = SUPAMANAGER_PLUGIN_TYPES_ERROR_FAILED;
        err->val.failed = error->val.failed;
    }
}

// `if not exists`: after a crash it is called once more.
bool exports_post_create_run(post_create_string_t *context, post_create_outcome_t *ret, post_create_error_t *err) {
    (void)context;
    post_create_string_t said;
    post_create_string_set(&said, "making the schema plugin___NAME_SNAKE__");
    supamanager_plugin_progress_report(&said);

    supamanager_plugin_sql_access_error_t error;
    if (!execute("create schema if not exists plugin___NAME_SNAKE__", &error)) {
        again_if_away(&error, err);
        return false;
    }
    ret->changed = true;
    post_create_string_set(&ret->summary, "the schema plugin___NAME_SNAKE__ is there");
    return true;
}

bool exports_post_create_undo(post_create_string_t *context, post_create_outcome_t *outcome, post_create_error_t *err) {
    (void)context, (void)outcome;
    supamanager_plugin_sql_access_error_t error;
    if (execute("drop schema if exists plugin___NAME_SNAKE__ cascade", &error)) return true;
    // The schema goes with a database that is already away.
    if (error.tag == SUPAMANAGER_PLUGIN_TYPES_ACCESS_ERROR_REFUSED) return true;
    again_if_away(&error, err);
    return false;
}
