/* Finds the wheel's own functions behind the ones that we replace. */
#include "engine.h"

#include <dlfcn.h>
#include <stdio.h>

struct engine_functions uc;

const char *engine_symbols_load(const char *library)
{
    static char message[256];
    const char *missing;
    void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);

    if (handle == NULL) {
        snprintf(message, sizeof(message), "%s", dlerror());
        return message;
    }
    uc.uc_version = (unsigned (*)(unsigned *, unsigned *))dlsym(handle, "uc_version");
    if (uc.uc_version != NULL) {
        unsigned version = uc.uc_version(NULL, NULL);
        unsigned major = version >> 24, minor = version >> 16 & 0xff, patch = version >> 8 & 0xff;

        if (major != UNICORN_VERSION_MAJOR || minor != UNICORN_VERSION_MINOR ||
            patch != UNICORN_VERSION_PATCH) {
            snprintf(message, sizeof(message),
                     "unicorn %u.%u.%u is installed, the engine core knows %d.%d.%d", major, minor, patch,
                     UNICORN_VERSION_MAJOR, UNICORN_VERSION_MINOR, UNICORN_VERSION_PATCH);
            return message;
        }
    }
#define LOAD(result, name, suffix, arguments)                                                   \
    *(void **)&uc.name = dlsym(handle, #name suffix);                                           \
    if (uc.name == NULL) {                                                                      \
        snprintf(message, sizeof(message), "unicorn has no function %s%s; version %d.%d.%d is known", #name, \
                 suffix, UNICORN_VERSION_MAJOR, UNICORN_VERSION_MINOR, UNICORN_VERSION_PATCH);  \
        return message;                                                                         \
    }
    ENGINE_FUNCTIONS(LOAD)
#undef LOAD
    missing = fpu_translate_init(handle);
    if (missing != NULL) {
        snprintf(message, sizeof(message), "unicorn has no helper %s; version %d.%d.%d is known", missing,
                 UNICORN_VERSION_MAJOR, UNICORN_VERSION_MINOR, UNICORN_VERSION_PATCH);
        return message;
    }
    return NULL;
}
