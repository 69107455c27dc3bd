// Copies the text of every wanted template to its path.
#include <stdlib.h>

#include "render.h"

void exports_render_describe(render_description_t *ret) {
    render_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    render_string_set(&ret->version, "0.1.0");
    render_string_set(&ret->summary, "Copies the text of every wanted template to its path");
}

bool exports_render_render(render_string_t *context, render_list_wanted_t *wanted, render_list_file_t *so_far,
                           render_list_file_t *ret, render_error_t *err) {
    (void)context, (void)so_far;
    ret->len = wanted->len;
    ret->ptr = malloc(wanted->len * sizeof *ret->ptr);
    for (size_t i = 0; i < wanted->len; i++) {
        render_wanted_t *one = &wanted->ptr[i];
        render_file_t *file = &ret->ptr[i];
        file->path = one->path;
        file->mode = one->mode;
        // A template that is not there fills `err`, and so is answered to the host.
        if (!supamanager_plugin_templates_read(&one->template_, &file->content, err)) return false;
    }
    return true;
}
