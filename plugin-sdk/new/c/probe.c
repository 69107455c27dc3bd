// Healthy is a service that listens on port 80, if its probe is a motto.
#include <stdlib.h>
#include <string.h>

#include "probe.h"

// The deadline is below the five seconds of the whole call, so that a service that does not answer is reported by name.
enum { PORT = 80, DEADLINE_MS = 1000 };

void exports_probe_describe(probe_description_t *ret) {
    probe_string_set(&ret->name, "__NAME__"); // this and the version as in plugin.toml
    probe_string_set(&ret->version, "0.1.0");
    probe_string_set(&ret->summary, "Healthy is what listens on port 80");
}

// The host's texts have a length and no zero at their end: not for `strstr`.
static bool holds(const probe_string_t *text, const char *word) {
    size_t length = strlen(word);
    for (size_t at = 0; at + length <= text->len; at++) {
        if (memcmp(text->ptr + at, word, length) == 0) return true;
    }
    return false;
}

// `tcp://SERVICE:80`
static void endpoint(const probe_string_t *service, probe_string_t *ret) {
    ret->len = 6 + service->len + 3;
    ret->ptr = malloc(ret->len);
    memcpy(ret->ptr, "tcp://", 6);
    memcpy(ret->ptr + 6, service->ptr, service->len);
    memcpy(ret->ptr + 6 + service->len, ":80", 3);
}

bool exports_probe_check(probe_string_t *project, probe_string_t *service, probe_string_t *spec, probe_option_report_t *ret,
                         probe_error_t *err) {
    (void)project, (void)err;
    ret->is_some = holds(spec, "motto");
    if (!ret->is_some) return true; // not a probe of ours: the next plugin is asked

    probe_report_t *report = &ret->val;
    endpoint(service, &report->endpoint);
    uint32_t took_ms;
    supamanager_plugin_service_tcp_access_error_t error;
    if (supamanager_plugin_service_tcp_connect(service, PORT, DEADLINE_MS, &took_ms, &error)) {
        report->state = PROBE_STATE_HEALTHY;
        probe_string_set(&report->reason, "");
    } else {
        report->state = PROBE_STATE_STARTING;
        report->reason = error.val.refused; // every case is a text, in the same place
    }
    return true;
}
