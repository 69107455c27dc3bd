// Tells whoever listens in the project's database that the project goes away.
#include "before_delete.h"

enum { DEADLINE_MS = 10000 };

void exports_before_delete_describe(before_delete_description_t *ret) {
    before_delete_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    before_delete_string_set(&ret->version, "0.1.0");
    before_delete_string_set(&ret->summary, "Tells whoever listens that the project goes away");
}

bool exports_before_delete_before_delete(before_delete_string_t *context, before_delete_string_t *ret,
                                         before_delete_error_t *err) {
    (void)context;
    before_delete_string_t said, service, role, statement;
    before_delete_string_set(&said, "saying goodbye");
    supamanager_plugin_progress_report(&said);

    before_delete_string_set(&service, "db");
    before_delete_string_set(&role, "postgres");
    before_delete_string_set(&statement, "notify project, 'deleted'");
    uint64_t rows;
    supamanager_plugin_sql_access_error_t error;
    if (supamanager_plugin_sql_execute(&service, &role, &statement, DEADLINE_MS, &rows, &error)) {
        before_delete_string_set(ret, "whoever listens on the channel `project` was told");
        return true;
    }
    // A paused project is deleted too, and an error would hold that up.
    if (error.tag == SUPAMANAGER_PLUGIN_TYPES_ACCESS_ERROR_REFUSED) {
        before_delete_string_set(ret, "the database does not run: nobody to tell");
        return true;
    }
    err->tag = SUPAMANAGER_PLUGIN_TYPES_ERROR_FAILED;
    err->val.failed = error.val.failed; // every case is a text, in the same place
    return false;
}
