// Counts the messages of each project and says so in the operator's log.
#include <stdlib.h>
#include <string.h>

#include "notify.h"

void exports_notify_describe(notify_description_t *ret) {
    notify_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    notify_string_set(&ret->version, "0.1.0");
    notify_string_set(&ret->summary, "Counts the messages of each project");
}

static bool number(const notify_list_u8_t *text, uint64_t *ret) {
    *ret = 0;
    for (size_t i = 0; i < text->len; i++) {
        uint8_t digit = text->ptr[i] - '0';
        if (digit > 9) return false;
        *ret = *ret * 10 + digit;
    }
    return text->len > 0;
}

// Its digits, at the end of 20 bytes.
static notify_list_u8_t digits(uint64_t number, uint8_t bytes[20]) {
    size_t at = 20;
    do bytes[--at] = '0' + number % 10;
    while (number /= 10);
    return (notify_list_u8_t){bytes + at, 20 - at};
}

static notify_string_t joined(const char *before, notify_list_u8_t middle, const char *after) {
    size_t first = strlen(before), last = strlen(after);
    notify_string_t text = {malloc(first + middle.len + last), first + middle.len + last};
    memcpy(text.ptr, before, first);
    memcpy(text.ptr + first, middle.ptr, middle.len);
    memcpy(text.ptr + first + middle.len, after, last);
    return text;
}

static bool failed(notify_string_t words, notify_error_t *err) {
    err->tag = SUPAMANAGER_PLUGIN_TYPES_ERROR_FAILED;
    err->val.failed = words;
    return false;
}

bool exports_notify_notify(notify_string_t *message, notify_error_t *err) {
    (void)message;
    notify_string_t heard;
    notify_string_set(&heard, "heard");
    notify_option_list_u8_t before;
    supamanager_plugin_memory_access_error_t error;
    if (!supamanager_plugin_memory_get(&heard, &before, &error)) {
        // What is remembered is a project's, and some messages are about none.
        if (error.tag == SUPAMANAGER_PLUGIN_TYPES_ACCESS_ERROR_DENIED) return true;
        return failed(error.val.failed, err); // every case is a text, in the same place
    }
    uint64_t count = 0;
    if (before.is_some && !number(&before.val, &count)) return failed(joined("`heard` is no number: ", before.val, ""), err);

    uint8_t bytes[20];
    notify_list_u8_t text = digits(count + 1, bytes);
    if (!supamanager_plugin_memory_set(&heard, &text, &error)) return failed(error.val.failed, err);
    notify_string_t line = joined("message ", text, " of this project");
    supamanager_plugin_log_write(SUPAMANAGER_PLUGIN_LOG_LEVEL_INFO, &line);
    return true;
}
