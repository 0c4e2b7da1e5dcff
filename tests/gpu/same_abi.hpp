// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether two functions are called in the same way. Enums count as the integers that they are, and
// handles (pointers to types that a header does not define) as void*.

#include <cstddef>
#include <type_traits>

namespace streamer::test {

template <typename T, typename = void>
inline constexpr bool kIsDefined = false;
template <typename T>
inline constexpr bool kIsDefined<T, std::void_t<decltype(sizeof(T))>> = true;

// Structs are compared by their members, where the real ones are known.
struct Struct {};

template <typename T>
constexpr auto abi_of() {
  if constexpr (std::is_enum_v<T>) {
    static_assert(sizeof(T) == sizeof(int));
    return std::type_identity<int>();
  } else if constexpr (std::is_pointer_v<T>) {
    using To = std::remove_cv_t<std::remove_pointer_t<T>>;
    if constexpr (std::is_void_v<To> || std::is_function_v<To>) {
      return std::type_identity<void*>();
    } else if constexpr (!kIsDefined<To>) {
      return std::type_identity<void*>();
    } else {
      return std::type_identity<typename decltype(abi_of<To>())::type*>();
    }
  } else if constexpr (std::is_class_v<T> || std::is_union_v<T>) {
    return std::type_identity<Struct>();
  } else {
    return std::type_identity<T>();
  }
}

template <typename Function>
struct Signature;
template <typename Result, typename... Parameters>
struct Signature<Result (*)(Parameters...)> {
  using type = typename decltype(abi_of<Result>())::type (*)(
      typename decltype(abi_of<Parameters>())::type...);
};

template <typename Ours, typename Theirs>
inline constexpr bool kIsSameAbi =
    std::is_same_v<typename Signature<Ours>::type, typename Signature<Theirs>::type>;

}  // namespace streamer::test
