/* A Vulkan layer that makes a driver fail, so that tests see what tasks do then. tests/faults/faults.ts compiles and uses it.
 *
 * FAULT_WAIT, FAULT_SUBMIT, FAULT_QUERY: the number, from 1, of the wait, submit or query that reports a lost device. So do all after it, and
 *   what comes first on every further device.
 * FAULT_ONCE: a file that the first process that loses its device makes; where it is there, nothing is lost.
 * FAULT_LARGEST: bytes of one allocation beyond which the driver has no memory.
 * FAULT_BUDGET, FAULT_SHRINK: bytes of memory that the driver says can be had, and how many fewer it says at each further question.
 * FAULT_COUNTS: a file that takes the numbers of waits, submits and queries when a process ends.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vulkan/vk_layer.h>
#include <vulkan/vulkan.h>

#define EXPORT __attribute__((visibility("default")))

/* One instance and one device at a time are enough for tests. Several devices share what lies below. */
static VkInstance instance;
static PFN_vkGetInstanceProcAddr next_of_instance;
static PFN_vkGetDeviceProcAddr next_of_device;
static VkDevice device;
static unsigned long long waits, submits, queries, questions;
static int lost;

static unsigned long long number(const char *name) {
  const char *text = getenv(name);
  return text ? strtoull(text, NULL, 10) : 0;
}

/* Whether the device is lost, now that something of this kind happens once more. */
static int loses(const char *name, unsigned long long *count) {
  unsigned long long at = number(name), now = __atomic_add_fetch(count, 1, __ATOMIC_SEQ_CST);
  if (lost || at == 0 || now < at) return lost;
  const char *once = getenv("FAULT_ONCE");
  if (once) {
    int file = open(once, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (file < 0) return 0;
    close(file);
  }
  fprintf(stderr, "faults: lost at %s=%llu\n", name, now);
  return lost = 1;
}

#define BELOW(name) ((PFN_vk##name) next_of_device(device, "vk" #name))
#define LOSING(name, variable, count, parameters, arguments) \
  static VKAPI_ATTR VkResult VKAPI_CALL name parameters { \
    return loses(variable, &count) ? VK_ERROR_DEVICE_LOST : BELOW(name) arguments; \
  }

LOSING(QueueSubmit, "FAULT_SUBMIT", submits, (VkQueue queue, uint32_t n, const VkSubmitInfo *infos, VkFence fence),
       (queue, n, infos, fence))
LOSING(WaitSemaphores, "FAULT_WAIT", waits, (VkDevice own, const VkSemaphoreWaitInfo *info, uint64_t ns), (own, info, ns))
LOSING(WaitForFences, "FAULT_WAIT", waits, (VkDevice own, uint32_t n, const VkFence *fences, VkBool32 all, uint64_t ns),
       (own, n, fences, all, ns))
LOSING(GetSemaphoreCounterValue, "FAULT_QUERY", queries, (VkDevice own, VkSemaphore semaphore, uint64_t *value),
       (own, semaphore, value))
LOSING(GetFenceStatus, "FAULT_QUERY", queries, (VkDevice own, VkFence fence), (own, fence))

/* What is allocated, as lavapipe does not tell: memory beyond so many allocations is not counted. */
#define MOST 4096
static struct { VkDeviceMemory memory; VkDeviceSize size; } held[MOST];
static VkDeviceSize used;

static VKAPI_ATTR VkResult VKAPI_CALL AllocateMemory(VkDevice own, const VkMemoryAllocateInfo *info,
                                                     const VkAllocationCallbacks *callbacks, VkDeviceMemory *memory) {
  unsigned long long largest = number("FAULT_LARGEST");
  if (largest && info->allocationSize > largest) return VK_ERROR_OUT_OF_DEVICE_MEMORY;
  VkResult result = BELOW(AllocateMemory)(own, info, callbacks, memory);
  for (int i = 0; result == VK_SUCCESS && i < MOST; i++) {
    if (held[i].size > 0) continue;
    held[i].memory = *memory;
    used += held[i].size = info->allocationSize;
    break;
  }
  return result;
}

static VKAPI_ATTR void VKAPI_CALL FreeMemory(VkDevice own, VkDeviceMemory memory, const VkAllocationCallbacks *callbacks) {
  for (int i = 0; i < MOST; i++) {
    if (held[i].size == 0 || held[i].memory != memory) continue;
    used -= held[i].size;
    held[i].size = 0;
  }
  BELOW(FreeMemory)(own, memory, callbacks);
}

__attribute__((destructor)) static void write_counts(void) {
  const char *path = getenv("FAULT_COUNTS");
  FILE *file = path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "{\"wait\":%llu,\"submit\":%llu,\"query\":%llu}\n", waits, submits, queries);
  fclose(file);
}

static VKAPI_ATTR void VKAPI_CALL GetPhysicalDeviceMemoryProperties2(VkPhysicalDevice physical,
                                                                     VkPhysicalDeviceMemoryProperties2 *properties) {
  ((PFN_vkGetPhysicalDeviceMemoryProperties2) next_of_instance(instance, "vkGetPhysicalDeviceMemoryProperties2"))(physical, properties);
  unsigned long long budget = number("FAULT_BUDGET"), gone = number("FAULT_SHRINK") * __atomic_fetch_add(&questions, 1, __ATOMIC_SEQ_CST);
  for (VkBaseOutStructure *part = properties->pNext; budget && part; part = part->pNext) {
    if (part->sType != VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT) continue;
    VkPhysicalDeviceMemoryBudgetPropertiesEXT *answer = (void *) part;
    for (uint32_t heap = 0; heap < properties->memoryProperties.memoryHeapCount; heap++) {
      answer->heapBudget[heap] = budget > gone ? budget - gone : 1;
      answer->heapUsage[heap] = used;
    }
  }
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateInstance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *callbacks,
                                                     VkInstance *made) {
  VkLayerInstanceCreateInfo *link = (void *) info->pNext;
  while (link->sType != VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO) link = (void *) link->pNext;
  next_of_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult result = ((PFN_vkCreateInstance) next_of_instance(NULL, "vkCreateInstance"))(info, callbacks, made);
  if (result == VK_SUCCESS) instance = *made;
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL CreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                   const VkAllocationCallbacks *callbacks, VkDevice *made) {
  VkLayerDeviceCreateInfo *link = (void *) info->pNext;
  while (link->sType != VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO || link->function != VK_LAYER_LINK_INFO) link = (void *) link->pNext;
  next_of_device = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  VkResult result = ((PFN_vkCreateDevice) next_of_instance(instance, "vkCreateDevice"))(physical, info, callbacks, made);
  if (result == VK_SUCCESS) device = *made, lost = 0;
  return result;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL faults_instance(VkInstance own, const char *name);
EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL faults_device(VkDevice own, const char *name);

#define ENTRY(function, answer) { "vk" #function, (PFN_vkVoidFunction) answer }
static const struct { const char *name; PFN_vkVoidFunction function; } entries[] = {
  ENTRY(QueueSubmit, QueueSubmit), ENTRY(WaitForFences, WaitForFences), ENTRY(GetFenceStatus, GetFenceStatus),
  ENTRY(WaitSemaphores, WaitSemaphores), ENTRY(WaitSemaphoresKHR, WaitSemaphores),
  ENTRY(GetSemaphoreCounterValue, GetSemaphoreCounterValue), ENTRY(GetSemaphoreCounterValueKHR, GetSemaphoreCounterValue),
  ENTRY(AllocateMemory, AllocateMemory), ENTRY(FreeMemory, FreeMemory),
  ENTRY(GetDeviceProcAddr, faults_device),
  ENTRY(CreateInstance, CreateInstance), ENTRY(CreateDevice, CreateDevice), ENTRY(GetInstanceProcAddr, faults_instance),
  ENTRY(GetPhysicalDeviceMemoryProperties2, GetPhysicalDeviceMemoryProperties2),
  ENTRY(GetPhysicalDeviceMemoryProperties2KHR, GetPhysicalDeviceMemoryProperties2),
};
#define OF_DEVICE 10 /* the first entries are those of a device */

static PFN_vkVoidFunction own_function(const char *name, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (!strcmp(name, entries[i].name)) return entries[i].function;
  }
  return NULL;
}

PFN_vkVoidFunction faults_device(VkDevice own, const char *name) {
  PFN_vkVoidFunction function = own_function(name, OF_DEVICE);
  return function ? function : next_of_device(own, name);
}

PFN_vkVoidFunction faults_instance(VkInstance own, const char *name) {
  PFN_vkVoidFunction function = own_function(name, sizeof entries / sizeof *entries);
  return function ? function : next_of_instance ? next_of_instance(own, name) : NULL;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *interface) {
  interface->loaderLayerInterfaceVersion = 2;
  interface->pfnGetInstanceProcAddr = faults_instance;
  interface->pfnGetDeviceProcAddr = faults_device;
  interface->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
