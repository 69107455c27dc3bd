// Has the API of a resumed project read the schema anew.
#include "after_resume.h"

// When to try again after a database that is away or busy: RETRY_MS.
enum { DEADLINE_MS = 10000, RETRY_MS = 2000 };

void exports_after_resume_describe(after_resume_description_t *ret) {
    after_resume_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    after_resume_string_set(&ret->version, "0.1.0");
    after_resume_string_set(&ret->summary, "Has the API read the schema anew");
}

static void again_if_away(const supamanager_plugin_sql_access_error_t *error, after_resume_error_t *err) {
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

// After a crash it is called once more: a second notification does no harm.
bool exports_after_resume_after_resume(after_resume_string_t *context, after_resume_string_t *ret, after_resume_error_t *err) {
    (void)context;
    after_resume_string_t service, role, statement;
    after_resume_string_set(&service, "db");
    after_resume_string_set(&role, "postgres");
    after_resume_string_set(&statement, "notify pgrst, 'reload schema'");

    uint64_t rows;
    supamanager_plugin_sql_access_error_t error;
    if (!supamanager_plugin_sql_execute(&service, &role, &statement, DEADLINE_MS, &rows, &error)) {
        again_if_away(&error, err);
        return false;
    }
    after_resume_string_set(ret, "the API reads the schema anew");
    return true;
}
