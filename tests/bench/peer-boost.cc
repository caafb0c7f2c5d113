/* SPDX-License-Identifier: MIT */

#include "peer-boost.h"

#include <unistd.h>

#include <exception>
#include <new>
#include <string>

#include <boost/interprocess/managed_shared_memory.hpp>

namespace ipc = boost::interprocess;

#define PUBLIC __attribute__((visibility("default")))

struct PeerBoost {
        PeerBoost(const std::string &name, size_t bytes) : memory(ipc::create_only, name.c_str(), bytes)
        {
                // The mapping is all that is needed; nothing is left when the process ends.
                ipc::shared_memory_object::remove(name.c_str());
        }

        ipc::managed_shared_memory memory;
};

PUBLIC PeerBoost *peer_boost_new(size_t bytes)
{
        std::string name = "mono-handle-bench." + std::to_string(getpid());

        try {
                return new PeerBoost(name, bytes);
        } catch (const std::exception &) {
                ipc::shared_memory_object::remove(name.c_str());
                return nullptr;
        }
}

PUBLIC PeerBoost *peer_boost_free(PeerBoost *p)
{
        delete p;
        return nullptr;
}

PUBLIC void *peer_boost_allocate(PeerBoost *p, size_t size)
{
        return p->memory.allocate(size, std::nothrow);
}

PUBLIC void peer_boost_deallocate(PeerBoost *p, void *block)
{
        p->memory.deallocate(block);
}
